#include "bench/model_work.h"

#include "executor/runtime/profile.h"

namespace exo::bench {
namespace {

void addCall(const program::Program& program, const program::Call& call, int64_t tokens, int64_t rows, StepWork& work) {
  if (!call.has_kernel() || call.in_size() < 2 || !call.in(1).has_weight()) return;
  const program::Kernel& kernel = program.kernels(static_cast<int>(call.kernel()));
  const bool experts = kernel.op() == program::Kernel::EXPERT_MATMUL;
  if (kernel.op() != program::Kernel::MATMUL && !experts) return;
  const int64_t call_rows = (call.rows() == program::ROWS ? rows : tokens) * (experts ? static_cast<int64_t>(kernel.top_k()) : 1);
  work.weight_bytes += runtime::weightBytesOf(program, call, call_rows);
  const double ops = 2.0 * static_cast<double>(kernel.n()) * static_cast<double>(kernel.k()) * static_cast<double>(call_rows);
  (kernel.input() == program::X8 ? work.int8_ops : work.f32_ops) += ops;
}

}  // namespace

StepWork workOfStep(const plan::Plan& plan, int64_t tokens, int64_t rows) {
  StepWork work;
  for (const program::Program& program : plan.programs()) {
    for (const program::Call& call : program.calls()) addCall(program, call, tokens, rows, work);
  }
  return work;
}

}  // namespace exo::bench
