//! The OpenAPI document. The push request's schema is made of federation's own types, so that it cannot differ from them.

use reveille_federation::PushRequest;
use reveille_federation::request::REQUESTS_MAX;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// The document, without a server's address.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Reveille: Push REST service",
            "description": "Push requests for phones, from machine accounts of organisations. See docs/rest.md.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "security": [{ "oauth": ["push"] }, { "certificate": [] }],
        "paths": {
            "/v1/push": { "post": send() },
            "/v1/push/{id}": { "get": trace() },
            "/oauth2/token": { "post": token() },
            "/.well-known/oauth-authorization-server": { "get": open("metadata", "What the token endpoint takes (RFC 8414)") },
            "/.well-known/reveille-handle-keys": { "get": open("handleKeys", "What apps seal their provider tokens with") },
            "/.well-known/reveille-webhook-keys": { "get": open("webhookKeys", "What feedback to webhooks is signed with") },
            "/openapi.json": { "get": open("describe", "This document") },
        },
        "components": {
            "securitySchemes": {
                "oauth": { "type": "oauth2", "flows": { "clientCredentials": {
                    "tokenUrl": "/oauth2/token", "scopes": { "push": "Send pushes and see what became of them" },
                } } },
                "certificate": { "type": "mutualTLS" },
            },
            "schemas": schemas(),
            "responses": responses(),
        },
    })
}

fn send() -> Value {
    let result = json!({ "oneOf": [
        { "$ref": "#/components/schemas/PushResult" },
        { "type": "array", "items": { "$ref": "#/components/schemas/PushResult" } },
    ] });
    let taken = |description: &str, schema: Value| json!({ "description": description, "headers": limits(), "content": { "application/json": { "schema": schema } } });
    let several = json!({ "type": "array", "items": { "$ref": "#/components/schemas/PushResult" } });
    json!({
        "operationId": "sendPush",
        "summary": "Sends one push, or up to 32",
        "description": "Answered when everything that is taken is synced to disk. An object is answered by an object or a \
                        problem, an array by an array in the same order.",
        "parameters": [{
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The id of a push that has none in the body: a ULID or a UUID of version 7. A repetition under \
                            the same id is a duplicate for at least 24 hours.",
            "schema": { "type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$" },
        }],
        "requestBody": { "required": true, "content": { "application/json": { "schema": { "oneOf": [
            { "$ref": "#/components/schemas/PushRequest" },
            {
                "type": "array", "minItems": 1, "maxItems": REQUESTS_MAX,
                "items": { "$ref": "#/components/schemas/PushRequest" },
            },
        ] } } } },
        "responses": {
            "202": taken("All of it is in the journal.", result),
            "207": taken("Some of several are refused; each result says so.", several),
            "400": { "$ref": "#/components/responses/Problem" },
            "401": { "$ref": "#/components/responses/Unauthorised" },
            "403": { "$ref": "#/components/responses/Problem" },
            "404": { "$ref": "#/components/responses/Problem" },
            "408": { "$ref": "#/components/responses/Problem" },
            "413": { "$ref": "#/components/responses/Problem" },
            "415": { "$ref": "#/components/responses/Problem" },
            "429": { "$ref": "#/components/responses/Later" },
            "503": { "$ref": "#/components/responses/Later" },
        },
    })
}

fn trace() -> Value {
    json!({
        "operationId": "tracePush",
        "summary": "What became of a push of this organisation in the last 25 hours",
        "parameters": [{
            "name": "id", "in": "path", "required": true,
            "schema": { "type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$" },
        }],
        "responses": {
            "200": { "description": "Where it is in its life.", "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/PushTrace" },
            } } },
            "400": { "$ref": "#/components/responses/Problem" },
            "401": { "$ref": "#/components/responses/Unauthorised" },
            "403": { "$ref": "#/components/responses/Problem" },
            "404": { "$ref": "#/components/responses/Problem" },
            "429": { "$ref": "#/components/responses/Later" },
            "503": { "$ref": "#/components/responses/Later" },
        },
    })
}

fn token() -> Value {
    let text = json!({ "type": "string" });
    let refused = |description: &str| {
        json!({ "description": description, "content": { "application/json": { "schema": {
            "$ref": "#/components/schemas/OAuthError",
        } } } })
    };
    json!({
        "operationId": "issueToken",
        "summary": "An access token for client credentials (RFC 6749 §4.4)",
        "description": "The client shows a secret (in the Authorization field or the body), a signed assertion (RFC 7523) or \
                        its client certificate (RFC 8705), and exactly one of them.",
        "security": [],
        "requestBody": { "required": true, "content": { "application/x-www-form-urlencoded": { "schema": {
            "type": "object",
            "properties": {
                "grant_type": { "type": "string", "enum": ["client_credentials"] },
                "client_id": text,
                "client_secret": { "type": "string", "format": "password" },
                "client_assertion_type":
                    { "type": "string", "enum": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"] },
                "client_assertion": text,
                "scope": { "type": "string", "enum": ["push"] },
            },
            "required": ["grant_type"],
        } } } },
        "responses": {
            "200": { "description": "A token, bound to the client certificate if that was shown.", "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/AccessToken" } },
            } },
            "400": refused("The form is wrong, or the organisation may not speak here."),
            "401": refused("The client is not let in."),
            "429": refused("Too many wrong secrets from this address, or too many assertions."),
        },
    })
}

fn open(id: &str, summary: &str) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "security": [],
        "responses": { "200": { "description": summary, "content": { "application/json": { "schema": {
            "type": "object",
        } } } } },
    })
}

fn limits() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "RateLimit-Policy": text("The organisation's allowances: messages, calls, day."),
        "RateLimit": text("What is left of each (r), and in how many seconds it is full again (t)."),
    })
}

fn responses() -> Value {
    let problem = |description: &str, fields: Value| {
        json!({ "description": description, "headers": fields, "content": { "application/problem+json": { "schema": {
            "$ref": "#/components/schemas/Problem",
        } } } })
    };
    let text = json!({ "type": "string" });
    json!({
        "Problem": problem("What is wrong (RFC 9457).", json!({})),
        "Unauthorised": problem("Nobody is known by what was shown.", json!({ "WWW-Authenticate": { "schema": text } })),
        "Later": problem("Not now.", json!({ "Retry-After": { "schema": { "type": "integer", "minimum": 1 } } })),
    })
}

fn schemas() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    generator.subschema_for::<PushRequest>();
    let mut schemas = Value::Object(generator.take_definitions(true));
    // Whoever sends over HTTPS may leave the id to the Idempotency-Key, or to us.
    if let Some(required) = schemas["PushRequest"]["required"].as_array_mut() {
        required.retain(|name| name != "id");
    }
    let text = json!({ "type": "string" });
    let id = json!({ "$ref": "#/components/schemas/PushId" });
    let secs = json!({ "type": "integer", "minimum": 0 });
    let of = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    schemas["PushResult"] = of(
        json!({
            "id": id, "result": { "type": "string", "enum": ["journaled", "duplicate", "refused"] }, "status": secs,
            "reason": text, "detail": text, "retry_after": secs,
        }),
        &["id", "result", "status"],
    );
    schemas["PushTrace"] = of(
        json!({
            "id": id,
            "state": { "type": "string", "enum": ["journaled", "sending", "accepted", "not-pushed"] },
            "reason": text, "detail": text, "attempts": secs,
            "received": { "type": "string", "format": "date-time" }, "at": { "type": "string", "format": "date-time" },
        }),
        &["id", "state", "received", "at", "attempts"],
    );
    schemas["AccessToken"] = of(
        json!({ "access_token": text, "token_type": { "const": "Bearer" }, "expires_in": secs, "scope": text }),
        &["access_token", "token_type", "expires_in"],
    );
    schemas["OAuthError"] = of(json!({ "error": text, "error_description": text }), &["error"]);
    schemas["Problem"] = of(
        json!({ "type": text, "title": text, "status": secs, "detail": text, "id": id, "reason": text, "advice": text }),
        &["type", "title", "status", "detail"],
    );
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    // REVEILLE_UPDATE=1 writes the page anew.
    #[test]
    fn the_document_that_lies_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/push-openapi.json");
        let document = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("REVEILLE_UPDATE").is_some() {
            std::fs::write(path, &document).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == document, "docs/push-openapi.json is stale: REVEILLE_UPDATE=1 writes it anew");
    }

    #[test]
    fn every_reference_leads_somewhere_and_a_push_needs_no_id() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let request = &document["components"]["schemas"]["PushRequest"];
        let required: Vec<_> = request["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(required.contains(&"identity") && !required.contains(&"id"), "{required:?}");
        assert!(request["properties"]["id"].is_object());
    }
}
