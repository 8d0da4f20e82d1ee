//! `Format-Table`: a row for each object, columns as wide as they need.

use reveille_admin::Value;

use super::{cell, properties};

/// A column is not made narrower than this to fit the terminal.
const COLUMN_MIN: usize = 8;

/// A column while the table is made.
struct Column {
    name: String,
    cells: Vec<String>,
    /// Numbers stand at the right.
    right: bool,
    /// Points in time say nothing when they are cut.
    whole: bool,
    width: usize,
}

/// Objects as rows. What does not fit into the width is cut off with dots; the widest columns give way first.
pub(crate) fn table(values: &[Value], width: usize, headers: bool) -> String {
    if values.is_empty() {
        return String::new();
    }
    let mut columns = columns(values);
    narrow(&mut columns, width);
    let mut text = String::from("\n");
    if headers {
        row(&mut text, &columns, |column| column.name.clone());
        row(&mut text, &columns, |column| "-".repeat(column.name.chars().count().min(column.width)));
    }
    for index in 0..values.len() {
        row(&mut text, &columns, |column| column.cells[index].clone());
    }
    text.push('\n');
    text
}

/// The columns of all objects, in the order in which they are met.
fn columns(values: &[Value]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let plain = [("Value", value)];
        let properties = match value {
            Value::Object(_) => properties(value),
            _ => plain.to_vec(),
        };
        for (name, value) in properties {
            let known = columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
            let at = known.unwrap_or_else(|| {
                columns.push(Column {
                    name: name.to_owned(),
                    cells: vec![String::new(); values.len()],
                    right: true,
                    whole: true,
                    width: name.chars().count(),
                });
                columns.len() - 1
            });
            let column = &mut columns[at];
            column.right &= matches!(value, Value::Int(_) | Value::Double(_) | Value::Null);
            // A table has one line for each object.
            let shown = cell(value).replace("\r\n", " ").replace(['\n', '\r', '\t'], " ");
            let second = seconds(&shown);
            column.whole &= second.is_some() || shown.is_empty();
            let shown = second.unwrap_or(shown);
            column.width = column.width.max(shown.chars().count());
            column.cells[index] = shown;
        }
    }
    columns
}

/// Makes columns narrower until all fit; when they are as narrow as can be the last ones go, as in PowerShell.
fn narrow(columns: &mut Vec<Column>, width: usize) {
    loop {
        let all = columns.iter().map(|column| column.width + 1).sum::<usize>().saturating_sub(1);
        let over = all.saturating_sub(width);
        if over == 0 {
            return;
        }
        let soft = columns.iter_mut().filter(|column| !column.whole && column.width > COLUMN_MIN);
        if let Some(widest) = soft.max_by_key(|column| column.width) {
            widest.width = widest.width.saturating_sub(over.div_ceil(2)).max(COLUMN_MIN);
        } else if columns.len() > 1 {
            columns.pop();
        } else {
            return;
        }
    }
}

/// A point in time without what is beneath a second: `2026-11-22T19:52:31Z`.
fn seconds(text: &str) -> Option<String> {
    let like = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        19 => byte == b'.',
        23 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    (text.len() == 24 && text.bytes().enumerate().all(like)).then(|| format!("{}Z", &text[..19]))
}

fn row(text: &mut String, columns: &[Column], of: impl Fn(&Column) -> String) {
    let mut line = String::new();
    for (index, column) in columns.iter().enumerate() {
        let width = column.width;
        let cell = cut(&of(column), width);
        if index > 0 {
            line.push(' ');
        }
        match column.right {
            true => line.push_str(&format!("{cell:>width$}")),
            false => line.push_str(&format!("{cell:<width$}")),
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(3)).collect::<String>() + "..."
}

#[cfg(test)]
mod tests {
    use reveille_admin::Object;

    use super::*;

    #[test]
    fn rows_fit_the_width_and_numbers_stand_at_the_right() {
        let domain = |name: &str, count: i64, comment: &str| {
            Value::from(Object::new("").with("Domain", name).with("Count", count).with("Comment", comment))
        };
        let values =
            [domain("push.lync.com", 7, "a long comment on this domain\nin two lines"), domain("x.com", 1234, "")];
        assert_eq!(
            table(&values, 40, true),
            "\nDomain        Count Comment\n------        ----- -------\npush.lync.com     7 a long comment on...\nx.com          \
             1234\n\n"
        );
        assert_eq!(table(&values[1..], 40, false), "\nx.com   1234\n\n");
        // Into a width that nothing fits into goes one column that can be read.
        assert_eq!(table(&values, 1, true), "\nDomain\n------\npush....\nx.com\n\n");
        assert_eq!(table(&values, 15, true), "\nDomain   Count\n------   -----\npush....     7\nx.com     1234\n\n");
    }

    #[test]
    fn a_point_in_time_is_shown_to_the_second_and_never_cut() {
        let entry = Object::new("")
            .with("Time", "2026-11-22T19:52:31.042Z")
            .with("Cmdlet", "Set-CsAccessEdgeConfiguration")
            .with("Detail", "a longer sentence of why it was refused");
        assert_eq!(
            table(&[entry.into()], 40, true),
            "\nTime                 Cmdlet    Detail\n----                 ------    ------\n2026-11-22T19:52:31Z \
             Set-Cs... a long...\n\n"
        );
    }
}
