//! Choices read out of bytes.

/// The bytes of an input that are not used yet. Where none are left, every choice is the first one.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Whether one chance in `of` comes true.
    pub fn one_in(&mut self, of: u8) -> bool {
        self.byte() % of == 1
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// So many bytes, or what is left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length in one byte and as many bytes; 255 takes all that is left.
    pub fn chunk(&mut self) -> &'a [u8] {
        match self.byte() {
            u8::MAX => self.take(usize::MAX),
            len => self.take(len.into()),
        }
    }
}
