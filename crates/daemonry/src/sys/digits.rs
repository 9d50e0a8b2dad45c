//! Numbers as text on the stack, for code that must not allocate.

/// The width of a pid with leading zeros.
pub(crate) const PID_WIDTH: usize = 10;

/// The width of any 64-bit number with leading zeros.
pub(crate) const TIME_WIDTH: usize = 20;

/// The digits of a number at the end of a buffer. Async-signal-safe.
pub(crate) struct Digits {
    buffer: [u8; TIME_WIDTH],
    start: usize,
}

impl Digits {
    pub(crate) const fn of_pid(pid: i32) -> Self {
        Self::of(pid.unsigned_abs() as u64)
    }

    pub(crate) const fn of(number: u64) -> Self {
        let mut digits = Self { buffer: [b'0'; TIME_WIDTH], start: TIME_WIDTH };
        let mut rest = number;
        while digits.start > 0 {
            digits.start -= 1;
            #[expect(clippy::indexing_slicing, reason = "the place was just compared with the length")]
            {
                digits.buffer[digits.start] = b'0' + (rest % 10) as u8;
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        digits
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or(&[])
    }

    /// With leading zeros; a longer number loses its first digits.
    pub(crate) fn fixed_width(&self, width: usize) -> &[u8] {
        self.buffer.get(TIME_WIDTH.saturating_sub(width)..).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_display_and_of_fixed_width() {
        for number in [0, 1, 9, 10, 12345, 99999, 4_194_304, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
            assert_eq!(Digits::of(number).fixed_width(TIME_WIDTH), format!("{number:020}").as_bytes());
        }
        assert_eq!(Digits::of_pid(i32::MAX).fixed_width(PID_WIDTH), format!("{:010}", i32::MAX).as_bytes());
    }
}
