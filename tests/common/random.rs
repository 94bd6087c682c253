//! Numbers that look random and are the same in every run.

/// SplitMix64.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Uniform in `0..1`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed, mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (core::f64::consts::TAU * self.uniform()).cos()
    }

    /// `n` normally distributed values.
    pub fn normals(&mut self, n: usize, mean: f64, deviation: f64) -> Vec<f32> {
        (0..n).map(|_| (mean + deviation * self.normal()) as f32).collect()
    }
}

/// `per_exponent` values of each sign and exponent of f32 (subnormals too), with the powers of
/// two and their neighbours among them, then every special value: the finite range evenly.
pub fn stratified_f32(per_exponent: usize) -> Vec<f32> {
    let mut random = Random(7);
    let mut values = Vec::new();
    for sign in [0, 1 << 31] {
        for exponent in 0..255u32 {
            let base = sign | exponent << 23;
            values.extend([0, 1, 2, 0x3f_ffff, 0x40_0000, 0x7f_fffe, 0x7f_ffff].map(|m| base | m));
            values.extend((7..per_exponent).map(|_| base | (random.bits() >> 41) as u32));
        }
        values.extend([0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff].map(|bits| sign | bits));
    }
    values.into_iter().map(f32::from_bits).collect()
}
