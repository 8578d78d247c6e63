//! An input of the fuzzer, read as choices: from the front, and where it is used up, every choice is the first one.
//!
//! Operations are read by [`Arbitrary`]. It is implemented by hand, one byte for a choice: what `arbitrary` makes of an
//! enum or of a number takes four bytes or eight, and lengths from the end, so that the committed corpora would mean
//! something else.

use arbitrary::Arbitrary;
pub(super) use arbitrary::Unstructured as Input;

/// What the bodies choose by.
pub(super) trait Choices<'a> {
    /// What these bytes stand for.
    fn read<T: Arbitrary<'a>>(&mut self) -> T;

    /// The next `length` bytes, or as many as there are.
    fn up_to(&mut self, length: usize) -> &'a [u8];

    /// The next byte, which stays where it is.
    fn peek(&self) -> u8;

    fn byte(&mut self) -> u8 {
        self.read()
    }

    /// A number below `bound`, which is at most 256.
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

impl<'a> Choices<'a> for Input<'a> {
    fn read<T: Arbitrary<'a>>(&mut self) -> T {
        self.arbitrary().expect("any bytes stand for something")
    }

    fn up_to(&mut self, length: usize) -> &'a [u8] {
        self.bytes(length.min(self.len())).expect("no more than there are")
    }

    fn peek(&self) -> u8 {
        self.peek_bytes(1).map_or(0, |next| next[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_take_one_byte_each_from_the_front_and_are_the_first_ones_at_the_end() {
        let mut input = Input::new(&[7, 200, 3, 1, 2, 9]);
        assert_eq!((input.peek(), input.byte(), input.below(16)), (7, 7, 200 % 16));
        assert_eq!((input.pick(&["a", "b"]), input.up_to(2), input.up_to(2)), ("b", &[1, 2][..], &[9][..]));
        assert!(input.is_empty());
        assert_eq!((input.peek(), input.byte(), input.pick(&["a", "b"]), input.up_to(1)), (0, 0, "a", &[][..]));
    }
}
