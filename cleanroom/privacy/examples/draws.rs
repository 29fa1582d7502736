//! What a draw of noise costs on this machine: `cargo run --release -p privacy --example draws`.

#![expect(clippy::print_stdout, reason = "an example for people")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Instant;

use ids::MicroRho;
use privacy::{Bound, NoiseSource, OpenDpNoise, Scale};

const DRAWS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:>14} {:>9} {:>8} {:>14}", "sigma", "bound", "threads", "µs per draw");
    for (bound, rho) in [(1, 8_300), (7, 8_300), (571_200, 8_300), (2_000_000_000, 100)] {
        let scale = Scale::calibrated(Bound::Norm(bound).sensitivity(), MicroRho::from_units(rho))?;
        for threads in [NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1)] {
            let noise = OpenDpNoise::with_threads(threads);
            let start = Instant::now();
            let drawn = noise.discrete_gaussian(DRAWS, &scale)?;
            let each = start.elapsed().as_secs_f64() * 1e6 / drawn.len() as f64;
            println!("{:>14.3} {bound:>9} {threads:>8} {each:>14.2}", scale.sigma());
        }
    }
    Ok(())
}
