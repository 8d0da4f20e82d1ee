//! The API as a document of OpenAPI 3.1, made from the catalogue, so that it can say nothing else.

use serde_json::{Map, Value, json};

use crate::cmdlet::{About, Parameter};
use crate::cmdlets::CMDLETS;
use crate::kind::Kind;
use crate::roles;

/// The whole API as a document of OpenAPI 3.1.
pub fn document() -> Value {
    let mut paths = Map::new();
    for about in CMDLETS.iter().map(|cmdlet| cmdlet.about()) {
        paths.insert(format!("/admin/v1/cmdlets/{}", about.name), json!({ "post": operation(about) }));
    }
    paths.insert(
        "/admin/v1/cmdlets".into(),
        json!({ "get": plain("catalogue", "The cmdlets that the caller may run", json!({ "type": "array" })) }),
    );
    paths.insert(
        "/admin/v1/me".into(),
        json!({ "get": plain("me", "Who the caller is, and what the roles reach", json!({ "type": "object" })) }),
    );
    paths.insert("/admin/v1/session".into(), session());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Reveille admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every cmdlet of the management shell as one request. By the socket of the server's own \
                            machine the system says who is calling; over TLS a token, a session or a client \
                            certificate does.",
        },
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "responses": {
                "Problem": {
                    "description": "It was not done; `detail` says why, and `advice` what would mend it.",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
            },
            "schemas": schemas(),
        },
    })
}

/// One cmdlet as data, for whoever makes forms or completion of it.
pub(super) fn about(about: &About) -> Value {
    json!({
        "name": about.name.to_string(),
        "summary": about.summary,
        "description": about.description,
        "parameters": about.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "sets": about.sets,
        "outputs": about.outputs,
        "changes": about.changes,
        "asks": about.asks,
    })
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "type": parameter.kind.name(),
        "help": parameter.help,
        "required": parameter.required,
        "position": parameter.position,
        "aliases": parameter.aliases,
        "sets": parameter.sets,
        "default": parameter.default,
        "words": parameter.kind.words(),
    })
}

fn operation(about: &About) -> Value {
    let mut properties = Map::new();
    for parameter in about.parameters {
        let mut schema = schema(&parameter.kind);
        schema["description"] = parameter.help.into();
        properties.insert(parameter.name.into(), schema);
    }
    let required: Vec<_> =
        about.parameters.iter().filter(|it| it.required && it.sets.is_empty()).map(|it| it.name).collect();
    let (roles, groups) = roles::names_with(about);
    let held = roles.into_iter().chain(groups).collect::<Vec<_>>().join(", ");
    let description = match about.description {
        "" => format!("Held by: {held}."),
        text => format!("{text} Held by: {held}."),
    };
    json!({
        "operationId": about.name.to_string(),
        "summary": about.summary,
        "description": description,
        "requestBody": { "content": { "application/json": { "schema": {
            "type": "object",
            "properties": {
                "parameters": {
                    "type": "object", "properties": properties, "required": required, "additionalProperties": false,
                },
                "whatIf": { "type": "boolean", "description": "Only says what would be done" },
                "verbose": { "type": "boolean" },
            },
            "additionalProperties": false,
        } } } },
        "responses": {
            "200": {
                "description": if about.outputs.is_empty() { "It is done.".into() }
                    else { format!("Objects with {}.", about.outputs.join(", ")) },
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Outcome" } } },
            },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    })
}

fn plain(id: &str, summary: &str, schema: Value) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "responses": {
            "200": { "description": summary, "content": { "application/json": { "schema": schema } } },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    })
}

fn session() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "post": {
            "operationId": "signIn",
            "summary": "Begins a session of an account with its password",
            "security": [],
            "requestBody": { "required": true, "content": { "application/json": { "schema": {
                "type": "object",
                "properties": { "account": text, "password": { "type": "string", "format": "password" } },
                "required": ["account", "password"],
                "additionalProperties": false,
            } } } },
            "responses": {
                "200": { "description": "The session's token and its end", "content": { "application/json": { "schema": {
                    "type": "object",
                    "properties": { "token": text, "expires": { "type": "string", "format": "date-time" } },
                } } } },
                "default": { "$ref": "#/components/responses/Problem" },
            },
        },
        "delete": {
            "operationId": "signOut",
            "summary": "Ends the session",
            "responses": {
                "204": { "description": "It is over." },
                "default": { "$ref": "#/components/responses/Problem" },
            },
        },
    })
}

fn schemas() -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let text = json!({ "type": "string" });
    json!({
        "Outcome": {
            "type": "object",
            "properties": {
                "objects": {
                    "type": "array",
                    "description": "Their members are in display order; the first, PSTypeName, names the type, and \
                                    those that begin with @ are for programs.",
                },
                "warnings": texts,
                "verbose": texts,
                "whatIf": texts,
                "logger": { "type": ["object", "null"] },
            },
        },
        "Problem": {
            "type": "object",
            "description": "RFC 9457, with the members of a PowerShell error record.",
            "properties": {
                "type": text, "title": text, "status": { "type": "integer" }, "detail": text, "message": text,
                "category": text, "target": text, "exception": text, "id": text, "advice": text,
            },
        },
    })
}

fn schema(kind: &Kind) -> Value {
    match kind {
        Kind::Bool | Kind::Switch => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::Credential => json!({
            "type": "object",
            "properties": {
                "PSTypeName": { "const": "PSCredential" }, "UserName": { "type": "string" }, "Password": secret(),
            },
        }),
        Kind::Instance(of) => json!({ "type": "object", "properties": { "PSTypeName": { "const": of } } }),
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::List(of) => json!({ "type": "array", "items": schema(of) }),
        Kind::Modifier(of) => {
            let list = json!({ "type": "array", "items": schema(of) });
            json!({ "oneOf": [list, {
                "type": "object", "properties": { "Add": list, "Remove": list, "Replace": list },
            }] })
        }
        Kind::Secret => secret(),
        Kind::Domain => json!({ "type": "string", "format": "hostname" }),
        Kind::SipUri => json!({ "type": "string", "format": "uri" }),
        Kind::Table => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::WebLink => json!({
            "type": "object", "properties": { "Token": { "type": "string" }, "Href": { "type": "string" } },
        }),
        Kind::PolicyScope | Kind::Scope | Kind::SipAddress | Kind::Text | Kind::User | Kind::Variable => {
            json!({ "type": "string" })
        }
    }
}

fn secret() -> Value {
    json!({ "type": "object", "properties": { "@secret": { "type": "string", "format": "password" } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cmdlet_has_its_request_and_every_reference_leads_somewhere() {
        let document = document();
        for about in CMDLETS.iter().map(|cmdlet| cmdlet.about()) {
            let post = &document["paths"][format!("/admin/v1/cmdlets/{}", about.name)]["post"];
            let parameters = &post["requestBody"]["content"]["application/json"]["schema"]["properties"]["parameters"];
            assert_eq!(post["operationId"], about.name.to_string());
            for parameter in about.parameters {
                assert!(parameters["properties"][parameter.name].is_object(), "{} -{}", about.name, parameter.name);
            }
            assert!(post["description"].as_str().unwrap().contains("CsAdministrator"), "{}", about.name);
        }
        let text = document.to_string();
        for (at, _) in text.match_indices("\"$ref\":\"#/") {
            let path = text[at + 9..].split('"').next().unwrap().replace('#', "");
            assert!(document.pointer(&path).is_some(), "{path}");
        }
    }
}
