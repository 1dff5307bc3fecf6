//! Reading and writing the elementary data types of AMQP 0-9-1 (specification section 4.2.5).

use super::table::Table;

/// Why bytes could not be read as what they were announced to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a value, or a length points behind their end.
    Truncated,
    /// Bytes are left over behind the last field.
    TrailingBytes,
    /// A short string is not UTF-8.
    Utf8,
    /// A field-table value has a type octet that RabbitMQ does not know.
    UnknownFieldType(u8),
    /// Tables or arrays are nested deeper than [`super::table::DEPTH_MAX`].
    TooDeep,
    /// No method has these class and method ids.
    UnknownMethod(u16, u16),
    /// The property flags announce properties that class basic does not have.
    UnknownProperty,
}

/// A cursor over bytes that reads AMQP's elementary types, with its own position for packed bits.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    bits: u8,
    bits_left: u8,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, bits: 0, bits_left: 0 }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        self.bits_left = 0;
        match self.bytes.split_at_checked(len) {
            Some((head, rest)) => {
                self.bytes = rest;
                Ok(head)
            }
            None => Err(DecodeError::Truncated),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.bits_left = 0;
        match self.bytes.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.bytes = rest;
                Ok(*head)
            }
            None => Err(DecodeError::Truncated),
        }
    }

    /// An octet.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }
    /// A short integer.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }
    /// A long integer.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }
    /// A long long integer.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }
    /// A bit; consecutive bits share an octet, lowest first.
    #[inline]
    pub fn bit(&mut self) -> Result<bool, DecodeError> {
        if self.bits_left == 0 {
            self.bits = self.u8()?;
            self.bits_left = 8;
        }
        let bit = self.bits & 1 == 1;
        self.bits >>= 1;
        self.bits_left -= 1;
        Ok(bit)
    }
    /// A short string's bytes (at most 255), not checked to be UTF-8.
    #[inline]
    pub fn short_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u8()?;
        self.take(len as usize)
    }
    /// A short string.
    #[inline]
    pub fn short_str(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.short_bytes()?).map_err(|_| DecodeError::Utf8)
    }
    /// A long string: any bytes.
    #[inline]
    pub fn long_str(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()?;
        self.take(len as usize)
    }
    /// Checks that everything was read.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] otherwise.
    #[inline]
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}

/// A long string, told apart from a short one in the method table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LongStr<'a>(pub &'a [u8]);

/// Packs consecutive bits while a method is written.
#[derive(Debug, Default)]
pub struct BitWriter {
    used: u8,
}

/// One field of a method: how it is read and written.
pub trait Field<'a>: Sized {
    /// The specification's name of the data type.
    const KIND: &'static str;
    /// Reads the field.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Appends the field.
    fn write(&self, out: &mut Vec<u8>, bits: &mut BitWriter);
}

macro_rules! integer_field {
    ($type:ty, $kind:literal, $read:ident) => {
        impl<'a> Field<'a> for $type {
            const KIND: &'static str = $kind;
            #[inline]
            fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.$read()
            }
            #[inline]
            fn write(&self, out: &mut Vec<u8>, bits: &mut BitWriter) {
                bits.used = 0;
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    };
}
integer_field!(u8, "octet", u8);
integer_field!(u16, "short", u16);
integer_field!(u32, "long", u32);
integer_field!(u64, "longlong", u64);

impl<'a> Field<'a> for bool {
    const KIND: &'static str = "bit";
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.bit()
    }
    #[inline]
    fn write(&self, out: &mut Vec<u8>, bits: &mut BitWriter) {
        if bits.used.is_multiple_of(8) {
            out.push(0);
            bits.used = 0;
        }
        if let Some(last) = out.last_mut() {
            *last |= u8::from(*self) << bits.used;
        }
        bits.used += 1;
    }
}

impl<'a> Field<'a> for &'a str {
    const KIND: &'static str = "shortstr";
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.short_str()
    }
    #[inline]
    fn write(&self, out: &mut Vec<u8>, bits: &mut BitWriter) {
        bits.used = 0;
        write_short_str(out, self.as_bytes());
    }
}

impl<'a> Field<'a> for LongStr<'a> {
    const KIND: &'static str = "longstr";
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(LongStr(reader.long_str()?))
    }
    #[inline]
    fn write(&self, out: &mut Vec<u8>, bits: &mut BitWriter) {
        bits.used = 0;
        write_long_str(out, self.0);
    }
}

impl<'a> Field<'a> for Table<'a> {
    const KIND: &'static str = "table";
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Table::read(reader)
    }
    fn write(&self, out: &mut Vec<u8>, bits: &mut BitWriter) {
        bits.used = 0;
        write_long_str(out, self.as_bytes());
    }
}

/// Appends a short string, cut to 255 bytes.
#[inline]
pub fn write_short_str(out: &mut Vec<u8>, text: &[u8]) {
    let text = &text[..text.len().min(255)];
    out.push(text.len() as u8);
    out.extend_from_slice(text);
}

/// Appends a long string.
#[inline]
pub fn write_long_str(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text);
}

/// Fills a slice of exactly known length from the front.
#[derive(Debug)]
pub struct Filler<'a>(&'a mut [u8]);

impl<'a> Filler<'a> {
    /// Fills `place`.
    #[inline]
    pub fn new(place: &'a mut [u8]) -> Filler<'a> {
        Filler(place)
    }

    /// Puts `bytes` behind what was put before. They must fit.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let (head, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.0 = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_share_an_octet_until_another_type_comes() {
        let mut out = vec![];
        let mut bits = BitWriter::default();
        for i in 0..9 {
            (i % 2 == 0).write(&mut out, &mut bits);
        }
        7u8.write(&mut out, &mut bits);
        true.write(&mut out, &mut bits);
        assert_eq!(out, [0b0101_0101, 1, 7, 1]);
        let mut reader = Reader::new(&out);
        for i in 0..9 {
            assert_eq!(reader.bit(), Ok(i % 2 == 0));
        }
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.bit(), Ok(true));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn lengths_beyond_the_end_are_truncation() {
        assert_eq!(Reader::new(&[3, b'a']).short_str(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[255, 255, 255, 255, 1]).long_str(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[0, 0, 0]).u32(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[1, 0xff]).short_str(), Err(DecodeError::Utf8));
    }
}
