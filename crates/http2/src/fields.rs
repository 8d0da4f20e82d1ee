//! A few header fields: names and values in one buffer, which is used again for the next answer.

/// Field lines in the order of arrival.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields {
    text: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a name ends, and where its value ends; it begins where the one before it has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Line {
    name_end: u32,
    value_end: u32,
}

impl Fields {
    /// None yet.
    pub const fn new() -> Self {
        Self { text: Vec::new(), lines: Vec::new() }
    }

    /// Appends a field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.text.extend_from_slice(name);
        // A section is bounded far below 4 GiB.
        let name_end = self.text.len() as u32;
        self.text.extend_from_slice(value);
        self.lines.push(Line { name_end, value_end: self.text.len() as u32 });
    }

    /// Name and value of each field.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.lines.iter().map(move |line| {
            let (name_end, value_end) = (line.name_end as usize, line.value_end as usize);
            let field = (&self.text[start..name_end], &self.text[name_end..value_end]);
            start = value_end;
            field
        })
    }

    /// The value of the first field of this name, which is in lower case (RFC 9113 §8.2), if it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.iter().find(|(known, _)| *known == name.as_bytes())?;
        std::str::from_utf8(value).ok()
    }

    /// Throws all away, and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(fields: I) -> Self {
        let mut all = Self::new();
        fields.into_iter().for_each(|(name, value)| all.push(name.as_bytes(), value.as_bytes()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_of_a_name_is_found_and_what_is_no_text_is_not() {
        let mut fields = Fields::from_iter([("date", "now"), ("apns-id", "1"), ("apns-id", "2")]);
        fields.push(b"retry-after", &[0xff]);
        assert_eq!((fields.get("apns-id"), fields.get("retry-after"), fields.get("id")), (Some("1"), None, None));
        assert_eq!(fields.iter().map(|(name, _)| name.len()).collect::<Vec<_>>(), [4, 7, 7, 11]);
        fields.clear();
        assert_eq!(fields, Fields::new());
    }
}
