//! Forms as OAuth sends them: `application/x-www-form-urlencoded`.

/// The fields of a form, each of them once.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

/// The most fields of a form.
const FIELDS_MAX: usize = 32;

impl Form {
    /// Reads a form. RFC 6749 §3.2: no parameter may be there twice, and one without a value is not there.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "The form is no text in UTF-8.".to_owned())?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err("The form cannot be read: a % without two hexadecimal digits, or no UTF-8.".into());
            };
            if fields.len() == FIELDS_MAX {
                return Err(format!("The form has more than {FIELDS_MAX} fields."));
            }
            if fields.iter().any(|(known, _)| *known == name) {
                // Its name is not shown: it may be a secret in the wrong place.
                return Err("The form has a field twice.".into());
            }
            fields.push((name, value));
        }
        fields.retain(|(_, value)| !value.is_empty());
        Ok(Self(fields))
    }

    /// The value of that field.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Text without its percent signs.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                16 * digit(rest.next()?)? + digit(rest.next()?)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_reads_with_each_field_once() {
        let form = Form::read(b"grant_type=client_credentials&client_id=a%2Bb+c&empty=&x").unwrap();
        assert_eq!(form.one("client_id"), Some("a+b c"));
        assert_eq!((form.one("empty"), form.one("x"), form.one("y")), (None, None, None));
        for bad in ["a=1&a=2", "a=%", "a=%1", "a=%zz", "a=%ff", "%=1"] {
            assert!(Form::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..=FIELDS_MAX).map(|number| format!("f{number}=1")).collect();
        assert!(Form::read(many.join("&").as_bytes()).is_err());
        assert!(Form::read(&[0xff]).is_err());
    }
}
