//! MD5 of several messages at once (RFC 1321).
//!
//! In MD5 each step depends on the one before, which leaves most of a processor's units idle. The steps of independent
//! messages run in parallel in one vector. The tests compare the result with the crate `md-5`, which digests one
//! message at a time.

use wide::u32x8;

/// The number of messages at once.
pub(super) const LANES: usize = 8;

/// The messages together take as long as this many of the longest of them one after the other (`cargo bench --bench
/// language`).
pub(super) const COST: usize = 2;

/// Bytes of a block.
const BLOCK: usize = 64;

/// The constants of the steps, a round of sixteen each: the integer part of 2³² · |sin(n)|, n from 1 on.
const CONSTANTS: [[u32; 16]; 4] = [
    [
        0xd76a_a478,
        0xe8c7_b756,
        0x2420_70db,
        0xc1bd_ceee,
        0xf57c_0faf,
        0x4787_c62a,
        0xa830_4613,
        0xfd46_9501,
        0x6980_98d8,
        0x8b44_f7af,
        0xffff_5bb1,
        0x895c_d7be,
        0x6b90_1122,
        0xfd98_7193,
        0xa679_438e,
        0x49b4_0821,
    ],
    [
        0xf61e_2562,
        0xc040_b340,
        0x265e_5a51,
        0xe9b6_c7aa,
        0xd62f_105d,
        0x0244_1453,
        0xd8a1_e681,
        0xe7d3_fbc8,
        0x21e1_cde6,
        0xc337_07d6,
        0xf4d5_0d87,
        0x455a_14ed,
        0xa9e3_e905,
        0xfcef_a3f8,
        0x676f_02d9,
        0x8d2a_4c8a,
    ],
    [
        0xfffa_3942,
        0x8771_f681,
        0x6d9d_6122,
        0xfde5_380c,
        0xa4be_ea44,
        0x4bde_cfa9,
        0xf6bb_4b60,
        0xbebf_bc70,
        0x289b_7ec6,
        0xeaa1_27fa,
        0xd4ef_3085,
        0x0488_1d05,
        0xd9d4_d039,
        0xe6db_99e5,
        0x1fa2_7cf8,
        0xc4ac_5665,
    ],
    [
        0xf429_2244,
        0x432a_ff97,
        0xab94_23a7,
        0xfc93_a039,
        0x655b_59c3,
        0x8f0c_cc92,
        0xffef_f47d,
        0x8584_5dd1,
        0x6fa8_7e4f,
        0xfe2c_e6e0,
        0xa301_4314,
        0x4e08_11a1,
        0xf753_7e82,
        0xbd3a_f235,
        0x2ad7_d2bb,
        0xeb86_d391,
    ],
];

/// The digests of `messages`. The time depends on the longest of them alone.
pub(super) fn digests(messages: [&[u8]; LANES]) -> [[u8; 16]; LANES] {
    let padded = messages.map(Padded::new);
    let most = padded.iter().map(Padded::blocks).max().unwrap_or_default();
    let mut state = State::INITIAL;
    let mut digests = [[0; 16]; LANES];
    for index in 0..most {
        let mut words = [[0; LANES]; 16];
        for (lane, message) in padded.iter().enumerate() {
            for (word, bytes) in words.iter_mut().zip(message.block(index).as_chunks().0) {
                word[lane] = u32::from_le_bytes(*bytes);
            }
        }
        state.add(&words.map(u32x8::new));
        for (lane, digest) in digests.iter_mut().enumerate() {
            if padded[lane].blocks() == index + 1 {
                *digest = state.of(lane);
            }
        }
    }
    digests
}

/// A message in blocks: the complete blocks of the message, then one or two with its rest, the padding and the length.
struct Padded<'m> {
    whole: &'m [[u8; BLOCK]],
    end: [u8; 2 * BLOCK],
    /// Whether the end has two blocks.
    is_long: bool,
}

impl<'m> Padded<'m> {
    fn new(message: &'m [u8]) -> Self {
        let (whole, rest) = message.as_chunks();
        let length = (message.len() as u64).wrapping_mul(8).to_le_bytes();
        let mut end = [0; 2 * BLOCK];
        end[..rest.len()].copy_from_slice(rest);
        end[rest.len()] = 0x80;
        let is_long = rest.len() + 1 + length.len() > BLOCK;
        let behind = if is_long { 2 * BLOCK } else { BLOCK };
        end[behind - length.len()..behind].copy_from_slice(&length);
        Self { whole, end, is_long }
    }

    fn blocks(&self) -> usize {
        self.whole.len() + 1 + usize::from(self.is_long)
    }

    /// The block of this index; after the last one, any block.
    fn block(&self, index: usize) -> &[u8; BLOCK] {
        self.whole.get(index).unwrap_or_else(|| &self.end.as_chunks().0[usize::from(index > self.whole.len())])
    }
}

/// The state of MD5 for all messages.
#[derive(Clone, Copy)]
struct State([u32x8; 4]);

impl State {
    const INITIAL: Self = Self([
        u32x8::splat(0x6745_2301),
        u32x8::splat(0xefcd_ab89),
        u32x8::splat(0x98ba_dcfe),
        u32x8::splat(0x1032_5476),
    ]);

    /// Processes one block of each message, given as words.
    fn add(&mut self, words: &[u32x8; 16]) {
        let before = *self;
        self.round(&CONSTANTS[0], [7, 12, 17, 22], |step| words[step % 16], |b, c, d| d ^ (b & (c ^ d)));
        self.round(&CONSTANTS[1], [5, 9, 14, 20], |step| words[(5 * step + 1) % 16], |b, c, d| c ^ (d & (b ^ c)));
        self.round(&CONSTANTS[2], [4, 11, 16, 23], |step| words[(3 * step + 5) % 16], |b, c, d| b ^ c ^ d);
        self.round(&CONSTANTS[3], [6, 10, 15, 21], |step| words[(7 * step) % 16], |b, c, d| c ^ (b | !d));
        for (word, before) in self.0.iter_mut().zip(before.0) {
            *word += before;
        }
    }

    /// Sixteen steps.
    #[inline(always)]
    fn round(
        &mut self,
        constants: &[u32; 16],
        rotations: [u32; 4],
        word: impl Fn(usize) -> u32x8,
        mix: impl Fn(u32x8, u32x8, u32x8) -> u32x8,
    ) {
        let step = |[a, b, c, d]: [u32x8; 4], index: usize| {
            let sum = a + mix(b, c, d) + (word(index) + u32x8::splat(constants[index]));
            let rotation = rotations[index % 4];
            [d, ((sum << rotation) | (sum >> (32 - rotation))) + b, b, c]
        };
        // The compiler unrolls loops of four, so that each step's rotation is a constant. One loop of sixteen takes a
        // third longer.
        for four in 0..4 {
            for index in 4 * four..4 * four + 4 {
                self.0 = step(self.0, index);
            }
        }
    }

    /// The digest of the message in this lane, if its last block is processed.
    fn of(&self, lane: usize) -> [u8; 16] {
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_array()[lane].to_le_bytes();
        }
        digest
    }
}
