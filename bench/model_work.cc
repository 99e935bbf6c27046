#include "bench/model_work.h"

#include <algorithm>

#include "codegen/layout.h"

namespace exo::bench {
namespace {

void addCall(const program::Program& program, const program::Call& call, int64_t tokens, int64_t rows, StepWork& work) {
  if (!call.has_kernel() || call.in_size() < 2 || !call.in(1).has_weight()) return;
  const program::Kernel& kernel = program.kernels(static_cast<int>(call.kernel()));
  const bool experts = kernel.op() == program::Kernel::EXPERT_MATMUL;
  if (kernel.op() != program::Kernel::MATMUL && !experts) return;
  const program::Weight& weight = program.weights(static_cast<int>(call.in(1).weight()));
  const int64_t calls = call.rows() == program::ROWS ? rows : tokens;
  if (calls == 0) return;
  const int64_t per_token = experts ? static_cast<int64_t>(kernel.top_k()) : 1;
  const int64_t matrices = experts ? std::min<int64_t>(weight.slices_size(), calls * per_token) : 1;
  const auto n = static_cast<int64_t>(weight.rows()), k = static_cast<int64_t>(weight.columns());
  work.weight_bytes += static_cast<double>(codegen::packedBytes(weight.encoding(), n, k)) * static_cast<double>(matrices);
  const double ops = 2.0 * static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(calls * per_token);
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
