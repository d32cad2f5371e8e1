//! A column of a CSV file. Everything but its ciphertexts stays byte by byte: quotes, line ends, blank lines.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::mover::Pairs;
use super::record::{Cell, Change, Field, MOST_RECORD, Sink};
use crate::exit::{Exit, Failure, Result};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A record as it stands in the file, and its fields without quotes.
#[derive(Default)]
struct Record {
    line: u64,
    raw: Vec<u8>,
    /// Where the fields stand in `raw`, without delimiters and line ends.
    spans: Vec<Range<usize>>,
    values: Vec<u8>,
    ends: Vec<usize>,
}

impl Record {
    fn clear(&mut self) {
        self.raw.clear();
        self.spans.clear();
        self.values.clear();
        self.ends.clear();
    }

    fn value(&self, at: usize) -> Option<&[u8]> {
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.values.get(start..*self.ends.get(at)?)
    }
}

struct Records<'a> {
    path: &'a Path,
    source: File,
    reader: Reader,
    delimiter: u8,
    buffer: Vec<u8>,
    /// What of `buffer` is not yet parsed.
    rest: Range<usize>,
    /// Where the next record begins, from 1 on.
    line: u64,
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl Records<'_> {
    fn refill(&mut self) -> Result<()> {
        let read = self.source.read(&mut self.buffer);
        self.rest = 0..read.map_err(|error| Failure::file("reading", self.path, &error))?;
        Ok(())
    }

    /// Reads the next record; false at the end, where `record` may have line ends that are left.
    fn next(&mut self, record: &mut Record) -> Result<bool> {
        self.line += lines(&record.raw);
        record.clear();
        let (mut start, mut written) = (0, 0);
        loop {
            if self.rest.is_empty() {
                self.refill()?;
            }
            if record.values.len() - written < 64 {
                record.values.resize((record.values.len() * 2).max(4096), 0);
            }
            let input = self.buffer.get(self.rest.clone()).unwrap_or_default();
            let output = record.values.get_mut(written..).unwrap_or_default();
            let (result, read, wrote) = self.reader.read_field(input, output);
            record.raw.extend_from_slice(input.get(..read).unwrap_or_default());
            self.rest.start += read;
            written += wrote;
            if record.raw.len() > MOST_RECORD {
                let text = format!(
                    "{} line {}: a record above {}; is a quote not closed?",
                    self.path.display(),
                    self.line,
                    crate::output::size(MOST_RECORD as u64)
                );
                return Err(Failure::new(Exit::Usage, "InvalidParameter", text));
            }
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::End => return Ok(false),
                ReadFieldResult::Field { record_end } => {
                    record.spans.push(span(&record.raw, start, record.spans.is_empty(), record_end, self.delimiter));
                    record.ends.push(written);
                    start = record.raw.len();
                    if record_end {
                        let first = record.spans.first().map_or(0, |span| span.start);
                        record.line = self.line + lines(record.raw.get(..first).unwrap_or_default());
                        record.values.truncate(written);
                        return Ok(true);
                    }
                }
            }
        }
    }
}

/// The position of a field that was read from `start` on.
fn span(raw: &[u8], start: usize, is_first: bool, is_last: bool, delimiter: u8) -> Range<usize> {
    let is_line_end = |byte: Option<&u8>| matches!(byte, Some(b'\n' | b'\r'));
    let (mut from, mut to) = (start, raw.len());
    if is_first {
        while from < to && is_line_end(raw.get(from)) {
            from += 1;
        }
        if raw.get(from..).is_some_and(|rest| rest.starts_with(BOM)) && start == 0 && from == 0 {
            from += BOM.len();
        }
    }
    if is_last {
        while to > from && is_line_end(raw.get(to - 1)) {
            to -= 1;
        }
    } else if to > from && raw.get(to - 1) == Some(&delimiter) {
        to -= 1;
    }
    from..to
}

pub fn scan(
    path: &Path,
    source: File,
    delimiter: u8,
    field: &Field<'_>,
    change: &mut Change<'_>,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let reader = ReaderBuilder::new().delimiter(delimiter).build();
    let mut records = Records { path, source, reader, delimiter, buffer: vec![0; 1 << 16], rest: 0..0, line: 1 };
    let mut record = Record::default();
    if !records.next(&mut record)? {
        return sink(&record.raw);
    }
    let header: Vec<String> = (0..record.spans.len())
        .filter_map(|at| record.value(at))
        .map(|name| String::from_utf8_lossy(name.strip_prefix(BOM).unwrap_or(name)).into_owned())
        .collect();
    let find = |name: &str| {
        let mut found = (0..header.len()).filter(|at| header.get(*at).is_some_and(|column| column == name));
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => Err(Failure::usage(format!("{} has several columns {name}", path.display()))),
            (None, _) => {
                let text = format!("{} has no column {name}; it has: {}", path.display(), header.join(", "));
                Err(Failure::usage(text).next("--delimiter, if the columns are separated by something else"))
            }
        }
    };
    let at = find(field.name)?;
    let context: Vec<(&String, usize)> =
        field.context.iter().map(|(name, column)| Ok((name, find(column)?))).collect::<Result<_>>()?;
    sink(&record.raw)?;
    while records.next(&mut record)? {
        let of = |at: usize| record.value(at).ok_or_else(|| Failure::usage("the row has fewer columns than the first"));
        let pairs = || -> Result<Pairs> {
            let text = |value: &[u8]| String::from_utf8(value.to_vec());
            let pair = |(name, at): &(&String, usize)| {
                let value = text(of(*at)?).map_err(|_| Failure::usage("a column of the context is not UTF-8"))?;
                Ok(((*name).clone(), value))
            };
            context.iter().map(pair).collect()
        };
        let new = change(Cell { line: record.line, value: of(at), context: &pairs })?;
        match (new, record.spans.get(at)) {
            (Some(new), Some(span)) => {
                let needs_quotes = new.iter().any(|byte| *byte == delimiter || matches!(byte, b'\n' | b'\r'));
                let is_quoted = record.raw.get(span.start) == Some(&b'"') || needs_quotes;
                let (before, after) = (record.raw.get(..span.start), record.raw.get(span.end..));
                sink(before.unwrap_or_default())?;
                let quote: &[u8] = if is_quoted { b"\"" } else { b"" };
                for part in [quote, &new, quote, after.unwrap_or_default()] {
                    sink(part)?;
                }
            }
            _ => sink(&record.raw)?,
        }
    }
    sink(&record.raw)
}
