//! Post-processing.
mod table;
pub use table::*;
/// What happens to the noisy numbers: projections, HAVING, ORDER BY, LIMIT.
#[derive(Debug, Clone)]
pub struct PostPlan {
    _todo: (),
}
impl PostPlan {
    /// The columns of the answer.
    pub fn columns(&self) -> &[OutColumn] {
        todo!()
    }
    /// Computes the answer.
    pub fn evaluate(&self, noisy: &NoisyTable) -> OutTable {
        let _ = noisy;
        todo!()
    }
}
