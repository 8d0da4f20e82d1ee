//! One header section as decoded: names and values in one buffer.

/// Field lines in the order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers {
    bytes: Vec<u8>,
    /// Where each field's name begins and ends, and where its value ends.
    fields: Vec<Field>,
    /// RFC 9113 §10.5.1: the section was larger than we accept; what was beyond is not here.
    pub(super) overflowed: bool,
    /// Size by RFC 9113 §6.5.2: names, values and 32 octets for each field.
    size: usize,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    start: u32,
    name_end: u32,
    value_end: u32,
}

impl Headers {
    /// Name and value of each field, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| {
            let (start, name_end, value_end) =
                (field.start as usize, field.name_end as usize, field.value_end as usize);
            (&self.bytes[start..name_end], &self.bytes[name_end..value_end])
        })
    }

    /// The buffer to which the decoder appends a name and then a value.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes a field of everything appended since the last one; the name ends at `name_end`.
    pub(super) fn close_field(&mut self, name_end: usize, limit: usize) {
        let start = self.end();
        let length = self.bytes.len() - start;
        self.size += length + 32;
        if self.size > limit {
            self.overflowed = true;
            self.bytes.truncate(start);
            return;
        }
        // `limit` keeps all positions far below 4 GiB.
        self.fields.push(Field { start: start as u32, name_end: name_end as u32, value_end: self.bytes.len() as u32 });
    }

    /// Where the next field begins.
    pub(super) fn end(&self) -> usize {
        self.fields.last().map_or(0, |field| field.value_end as usize)
    }
}
