//! Field tables and arrays (specification section 4.2.5.5; type octets as RabbitMQ uses them).
//!
//! A [`Table`] borrows the bytes it was read from and is walked, never built: reading allocates nothing.

use super::codec::{DecodeError, Reader, write_long_str};

/// How deep tables and arrays may be nested in each other.
pub const DEPTH_MAX: usize = 64;

/// A field table whose bytes have been checked through and through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

/// A field array whose bytes have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Array<'a> {
    bytes: &'a [u8],
}

/// A value of a table or an array; named after RabbitMQ's field types, with the type octet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s` (RabbitMQ: signed 16 bits, not a short string)
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L` which RabbitMQ reads the same way
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: scale and unscaled value
    Decimal(u8, u32),
    /// `S`
    LongStr(&'a [u8]),
    /// `T`, in seconds
    Timestamp(u64),
    /// `F`
    Table(Table<'a>),
    /// `A`
    Array(Array<'a>),
    /// `x`
    Bytes(&'a [u8]),
    /// `V`
    Void,
}

impl<'a> Table<'a> {
    /// A table without entries.
    pub const EMPTY: Table<'static> = Table { bytes: &[] };

    /// Reads a table with its length and checks all of it.
    ///
    /// # Errors
    /// What is wrong with it; nesting beyond [`DEPTH_MAX`] is an error too.
    pub fn read(reader: &mut Reader<'a>) -> Result<Table<'a>, DecodeError> {
        Table::check(reader.long_str()?)
    }

    /// A table's contents (without the length), checked.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn check(bytes: &'a [u8]) -> Result<Table<'a>, DecodeError> {
        check_table(bytes, DEPTH_MAX)?;
        Ok(Table { bytes })
    }

    /// A table's contents that [`Table::check`] has taken before. A walk over others would end at the first fault.
    pub(crate) fn of_checked(bytes: &'a [u8]) -> Table<'a> {
        Table { bytes }
    }

    /// The contents as on the wire, without the length.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entries in wire order; duplicate keys come as often as they were sent.
    pub fn iter(&self) -> TableIter<'a> {
        TableIter { reader: Reader::new(self.bytes) }
    }

    /// The first value under `key`.
    pub fn find(&self, key: &str) -> Option<Value<'a>> {
        self.iter().find(|(k, _)| *k == key.as_bytes()).map(|(_, value)| value)
    }
}

/// The entries of a table.
#[derive(Debug, Clone)]
pub struct TableIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for TableIter<'a> {
    type Item = (&'a [u8], Value<'a>);
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.rest().is_empty() {
            return None;
        }
        // The bytes were checked: errors cannot happen, and would end the walk.
        let key = self.reader.short_bytes().ok()?;
        let value = Value::read(&mut self.reader).ok()?;
        Some((key, value))
    }
}

impl<'a> Array<'a> {
    /// The values in order.
    pub fn iter(&self) -> ArrayIter<'a> {
        ArrayIter { reader: Reader::new(self.bytes) }
    }

    /// The contents as on the wire, without the length.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The values of an array.
#[derive(Debug, Clone)]
pub struct ArrayIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = Value<'a>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.rest().is_empty() { None } else { Value::read(&mut self.reader).ok() }
    }
}

impl<'a> Value<'a> {
    /// Reads a type octet and its value. Nested tables and arrays are taken as they are, unchecked.
    fn read(reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
        Ok(match reader.u8()? {
            b't' => Value::Bool(reader.u8()? != 0),
            b'b' => Value::I8(reader.u8()? as i8),
            b'B' => Value::U8(reader.u8()?),
            b's' => Value::I16(reader.u16()? as i16),
            b'u' => Value::U16(reader.u16()?),
            b'I' => Value::I32(reader.u32()? as i32),
            b'i' => Value::U32(reader.u32()?),
            b'l' | b'L' => Value::I64(reader.u64()? as i64),
            b'f' => Value::F32(f32::from_bits(reader.u32()?)),
            b'd' => Value::F64(f64::from_bits(reader.u64()?)),
            b'D' => Value::Decimal(reader.u8()?, reader.u32()?),
            b'S' => Value::LongStr(reader.long_str()?),
            b'T' => Value::Timestamp(reader.u64()?),
            b'F' => Value::Table(Table { bytes: reader.long_str()? }),
            b'A' => Value::Array(Array { bytes: reader.long_str()? }),
            b'x' => Value::Bytes(reader.long_str()?),
            b'V' => Value::Void,
            other => return Err(DecodeError::UnknownFieldType(other)),
        })
    }

    /// RabbitMQ's name of the field type, as its error texts have it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::I8(_) => "byte",
            Value::U8(_) => "unsignedbyte",
            Value::I16(_) => "short",
            Value::U16(_) => "unsignedshort",
            Value::I32(_) => "signedint",
            Value::U32(_) => "unsignedint",
            Value::I64(_) => "long",
            Value::F32(_) => "float",
            Value::F64(_) => "double",
            Value::Decimal(..) => "decimal",
            Value::LongStr(_) => "longstr",
            Value::Timestamp(_) => "timestamp",
            Value::Table(_) => "table",
            Value::Array(_) => "array",
            Value::Bytes(_) => "binary",
            Value::Void => "void",
        }
    }

    /// The value as an integer, whatever its width; `None` for anything but an integer.
    pub fn as_integer(&self) -> Option<i64> {
        Some(match *self {
            Value::I8(n) => n.into(),
            Value::U8(n) => n.into(),
            Value::I16(n) => n.into(),
            Value::U16(n) => n.into(),
            Value::I32(n) => n.into(),
            Value::U32(n) => n.into(),
            Value::I64(n) => n,
            _ => return None,
        })
    }

    /// The bytes of a long string.
    pub fn as_long_str(&self) -> Option<&'a [u8]> {
        match *self {
            Value::LongStr(text) => Some(text),
            _ => None,
        }
    }
}

fn check_table(bytes: &[u8], depth_left: usize) -> Result<(), DecodeError> {
    if depth_left == 0 {
        return Err(DecodeError::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while !reader.rest().is_empty() {
        reader.short_bytes()?;
        check_value(&mut reader, depth_left)?;
    }
    Ok(())
}

fn check_value(reader: &mut Reader<'_>, depth_left: usize) -> Result<(), DecodeError> {
    match Value::read(reader)? {
        Value::Table(table) => check_table(table.bytes, depth_left - 1),
        Value::Array(array) => {
            if depth_left == 1 {
                return Err(DecodeError::TooDeep);
            }
            let mut reader = Reader::new(array.bytes);
            while !reader.rest().is_empty() {
                check_value(&mut reader, depth_left - 1)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Builds a table's contents.
#[derive(Debug, Default, Clone)]
pub struct TableWriter {
    bytes: Vec<u8>,
}

impl TableWriter {
    /// An empty table.
    pub fn new() -> TableWriter {
        TableWriter::default()
    }

    /// Appends an entry; the key is cut to 255 bytes.
    pub fn put(&mut self, key: &str, value: Value<'_>) -> &mut TableWriter {
        self.put_bytes(key.as_bytes(), value)
    }

    /// Appends an entry whose key is any bytes.
    pub fn put_bytes(&mut self, key: &[u8], value: Value<'_>) -> &mut TableWriter {
        super::codec::write_short_str(&mut self.bytes, key);
        write_value(&mut self.bytes, value);
        self
    }

    /// The table built so far.
    pub fn table(&self) -> Table<'_> {
        Table { bytes: &self.bytes }
    }

    /// The contents' bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Builds an array's contents.
#[derive(Debug, Default, Clone)]
pub struct ArrayWriter {
    bytes: Vec<u8>,
}

impl ArrayWriter {
    /// Appends a value.
    pub fn push(&mut self, value: Value<'_>) -> &mut ArrayWriter {
        write_value(&mut self.bytes, value);
        self
    }

    /// The array built so far.
    pub fn array(&self) -> Array<'_> {
        Array { bytes: &self.bytes }
    }
}

/// Appends a value with its type octet.
pub fn write_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Bool(b) => out.extend_from_slice(&[b't', b.into()]),
        Value::I8(n) => out.extend_from_slice(&[b'b', n as u8]),
        Value::U8(n) => out.extend_from_slice(&[b'B', n]),
        Value::I16(n) => fixed(out, b's', &n.to_be_bytes()),
        Value::U16(n) => fixed(out, b'u', &n.to_be_bytes()),
        Value::I32(n) => fixed(out, b'I', &n.to_be_bytes()),
        Value::U32(n) => fixed(out, b'i', &n.to_be_bytes()),
        Value::I64(n) => fixed(out, b'l', &n.to_be_bytes()),
        Value::F32(n) => fixed(out, b'f', &n.to_bits().to_be_bytes()),
        Value::F64(n) => fixed(out, b'd', &n.to_bits().to_be_bytes()),
        Value::Decimal(scale, n) => {
            out.extend_from_slice(&[b'D', scale]);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Value::Timestamp(n) => fixed(out, b'T', &n.to_be_bytes()),
        Value::LongStr(text) => tagged(out, b'S', text),
        Value::Table(table) => tagged(out, b'F', table.bytes),
        Value::Array(array) => tagged(out, b'A', array.bytes),
        Value::Bytes(bytes) => tagged(out, b'x', bytes),
        Value::Void => out.push(b'V'),
    }
}

fn fixed(out: &mut Vec<u8>, octet: u8, bytes: &[u8]) {
    out.push(octet);
    out.extend_from_slice(bytes);
}

fn tagged(out: &mut Vec<u8>, octet: u8, bytes: &[u8]) {
    out.push(octet);
    write_long_str(out, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back() {
        let mut inner = TableWriter::new();
        inner.put("k", Value::Bool(true));
        let mut array = ArrayWriter::default();
        array.push(Value::Void).push(Value::I32(-1));
        let values = [
            Value::Bool(false),
            Value::I8(-3),
            Value::U8(200),
            Value::I16(-300),
            Value::U16(60_000),
            Value::I32(-70_000),
            Value::U32(4_000_000_000),
            Value::I64(i64::MIN),
            Value::F32(1.5),
            Value::F64(-2.5),
            Value::Decimal(2, 314),
            Value::LongStr(b"text"),
            Value::Timestamp(u64::MAX),
            Value::Table(inner.table()),
            Value::Array(array.array()),
            Value::Bytes(&[0, 255]),
            Value::Void,
        ];
        let mut writer = TableWriter::new();
        for value in values {
            writer.put(value.type_name(), value);
        }
        let bytes = writer.into_bytes();
        let table = Table::check(&bytes).unwrap();
        let read: Vec<Value<'_>> = table.iter().map(|(_, value)| value).collect();
        assert_eq!(read, values);
        assert_eq!(table.find("signedint"), Some(Value::I32(-70_000)));
        for cut in 1..bytes.len() {
            let _ = Table::check(&bytes[..cut]); // must not panic
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut bytes = vec![];
        for _ in 0..1000 {
            let mut writer = TableWriter::new();
            let table = Table { bytes: &bytes };
            writer.put("a", Value::Table(table));
            bytes = writer.into_bytes();
        }
        assert_eq!(Table::check(&bytes), Err(DecodeError::TooDeep));
        assert_eq!(Table::check(&[1, b'k', b'?']), Err(DecodeError::UnknownFieldType(b'?')));
        assert_eq!(Table::check(&[1, b'k', b'S', 0, 0, 0, 9]), Err(DecodeError::Truncated));
    }
}
