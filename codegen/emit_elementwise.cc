// Kernels that walk rows of f32: norms, sums, gated activations, row copies. A work unit is a row; tails shorter than 16 lanes are masked.
#include <cmath>
#include <numbers>

#include "codegen/emit.h"

namespace exo::codegen {
namespace {

using program::Kernel;

Val rowAt(Entry& e, Val base, Val row, int64_t columns) { return e.at(base, row * (4 * columns)); }

/// Σ x² over `count` elements: four partial sums over steps of 64, then steps of 16, always in this order.
Val sumOfSquares(Entry& e, Val x, int64_t count) {
  const int64_t full = count / 64 * 64;
  Vals sums = e.loop(e.i(0), e.i(full), 64, Vals(4, e.fv(0)), [&](Val offset, Vals partial) {
    for (int k = 0; k < 4; ++k) {
      Val v = e.load(e.f32v, e.at(e.at(x, offset * 4), 64 * k), 4);
      partial[k] = e.fma(v, v, partial[k]);
    }
    return partial;
  });
  Val rest = e.at(x, 4 * full);
  Vals last = e.columns(count - full, {sums[0]}, [&](Val offset, int lanes, Vals partial) {
    Val v = e.loadLanes(e.at(rest, offset * 4), lanes);
    return Vals{e.fma(v, v, partial[0])};
  });
  return e.sum((last[0] + sums[1]) + (sums[2] + sums[3]));
}

/// out = x / sqrt(mean(x²) + epsilon) * (offset + weight)
void normalise(Entry& e, Val x, Val weight, Val out, int64_t count, const Kernel& kernel) {
  Val mean = sumOfSquares(e, x, count) / e.f(static_cast<double>(count)) + e.f(kernel.epsilon());
  Val factor = e.splat(e.f(1) / e.sqrt(mean));
  e.columns(count, [&](Val offset, int lanes) {
    Val w = e.loadLanes(e.at(weight, offset * 4), lanes);
    if (kernel.weight_offset() != 0) w = e.fv(kernel.weight_offset()) + w;
    e.storeLanes(e.loadLanes(e.at(x, offset * 4), lanes) * factor * w, e.at(out, offset * 4), lanes);
  });
}

/// out[row] = change(x[row]), for the columns of these units.
void unary(Entry& e, const Kernel& kernel, const std::function<std::function<Val(Val x, Val column, int lanes)>(Val row)>& changeOf) {
  const int64_t columns = kernel.n();
  Val x = e.in(0), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    const auto change = changeOf(row);
    Val from = rowAt(e, x, row, columns), to = rowAt(e, out, row, columns);
    e.eachColumn(kernel, columns, [&](Val offset, int lanes) {
      e.storeLanes(change(e.loadLanes(e.at(from, offset * 4), lanes), offset, lanes), e.at(to, offset * 4), lanes);
    });
  });
}

/// out[row] = combine(a[row], c[row or the only row])
void binary(llvm::Module& module, const std::string& symbol, const Kernel& kernel, bool one_second_row, const Target& target,
            const std::function<Val(Entry&, Val, Val)>& combine) {
  Entry e(module, symbol, target);
  const int64_t columns = kernel.n();
  Val first = e.in(0), second = e.in(1), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    Val a = rowAt(e, first, row, columns), o = rowAt(e, out, row, columns);
    Val c = one_second_row ? second : rowAt(e, second, row, columns);
    e.eachColumn(kernel, columns, [&](Val offset, int lanes) {
      Val v = combine(e, e.loadLanes(e.at(a, offset * 4), lanes), e.loadLanes(e.at(c, offset * 4), lanes));
      e.storeLanes(v, e.at(o, offset * 4), lanes);
    });
  });
  e.finish();
}

void copyRow(Entry& e, Val from, Val to, int64_t columns) {
  e.columns(columns, [&](Val offset, int lanes) {
    e.storeLanes(e.loadLanes(e.at(from, offset * 4), lanes), e.at(to, offset * 4), lanes);
  });
}

}  // namespace

void emitRmsNorm(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t n = kernel.n();
  Val x = e.in(0), weight = e.in(1), out = e.out(0);
  e.eachRow(kernel, [&](Val row) { normalise(e, rowAt(e, x, row, n), weight, rowAt(e, out, row, n), n, kernel); });
  e.finish();
}

void emitHeadNorm(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t heads = kernel.heads(), dim = kernel.head_dim();
  Val x = e.in(0), weight = e.in(1), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    e.eachPart(kernel, heads, dim, [&](Val head) {
      Val at = row * heads + head;
      normalise(e, rowAt(e, x, at, dim), weight, rowAt(e, out, at, dim), dim, kernel);
    });
  });
  e.finish();
}

void emitAdd(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  binary(module, symbol, kernel, false, target, [](Entry&, Val a, Val c) { return a + c; });
}

void emitBiasAdd(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  binary(module, symbol, kernel, true, target, [](Entry&, Val a, Val c) { return a + c; });
}

void emitSiluMul(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  binary(module, symbol, kernel, false, target, [&](Entry& e, Val gate, Val up) {
    if (kernel.gate() == Kernel::CLAMPED_SWIGLU) {
      Val limit = e.fv(kernel.gate_limit()), g = e.min(gate, limit), u = e.min(e.max(up, e.fv(-kernel.gate_limit())), limit);
      return g / (e.fv(1) + e.exp(g * e.fv(-1.702))) * (u + e.fv(1));
    }
    if (kernel.gate() == Kernel::SILU) return gate / (e.fv(1) + e.exp(e.fv(0) - gate)) * up;
    // gelu_tanh(x) = x · sigmoid(2u), u = sqrt(2/π) · (x + 0.044715 x³)
    Val u = gate * e.fma(gate * gate, e.fv(0.044715), e.fv(1));
    return gate / (e.fv(1) + e.exp(u * e.fv(-2 * std::sqrt(2 / std::numbers::pi)))) * up;
  });
}

void emitSquareSum(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t n = kernel.n();
  Val x = e.in(0), out = e.out(0);
  e.eachRow(kernel, [&](Val row) { e.store(sumOfSquares(e, rowAt(e, x, row, n), n), rowAt(e, out, row, 1), 4); });
  e.finish();
}

void emitNormBySum(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  Val sums = e.in(1), weight = e.in(2);
  unary(e, kernel, [&](Val row) {
    Val mean = e.load(e.f32, rowAt(e, sums, row, 1), 4) / e.f(static_cast<double>(kernel.k())) + e.f(kernel.epsilon());
    Val factor = e.splat(e.f(1) / e.sqrt(mean));
    return [&e, weight, factor](Val x, Val column, int lanes) { return x * factor * e.loadLanes(e.at(weight, column * 4), lanes); };
  });
  e.finish();
}

void emitSigmoidMul(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  Val gates = e.in(1);
  unary(e, kernel, [&](Val row) {
    Val divisor = e.fv(1) + e.exp(e.fv(0) - e.broadcast(e.f32, rowAt(e, gates, row, 1)));
    return [divisor](Val x, Val, int) { return x / divisor; };
  });
  e.finish();
}

void emitSoftCap(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  unary(e, kernel, [&](Val) { return [&](Val x, Val, int) { return e.softCap(x, kernel.soft_cap()); }; });
  e.finish();
}

void emitTakeRows(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t n = kernel.n();
  Val x = e.in(0), rows = e.in(1), out = e.out(0);
  e.eachRow(kernel, [&](Val row) { copyRow(e, rowAt(e, x, e.index(rows, row), n), rowAt(e, out, row, n), n); });
  e.finish();
}

/// A head of the result: k columns of the first operand's head, the last ones of the second's.
void emitHeadConcat(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t heads = kernel.heads(), width = static_cast<int64_t>(kernel.n()) / heads, first_dim = kernel.k(), second_dim = kernel.head_dim(), tail = width - first_dim;
  Val first = e.in(0), second = e.in(1), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    e.each(row * heads, (row + 1) * heads, 1, [&](Val head) {
      Val to = rowAt(e, out, head, width);
      copyRow(e, rowAt(e, first, head, first_dim), to, first_dim);
      copyRow(e, e.at(rowAt(e, second, head, second_dim), 4 * (second_dim - tail)), e.at(to, 4 * first_dim), tail);
    });
  });
  e.finish();
}

void emitExpertGather(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t n = kernel.n(), experts_per_token = kernel.top_k();
  Val x = e.in(0), out = e.out(0);
  e.eachRow(kernel, [&](Val row) { copyRow(e, rowAt(e, x, row / e.i(experts_per_token), n), rowAt(e, out, row, n), n); });
  e.finish();
}

void emitExpertBiasAdd(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t n = kernel.n();
  Val x = e.in(0), biases = e.in(1), experts = e.in(2), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    Val from = rowAt(e, x, row, n), bias = rowAt(e, biases, e.index(experts, row), n), to = rowAt(e, out, row, n);
    e.columns(n, [&](Val offset, int lanes) {
      e.storeLanes(e.loadLanes(e.at(from, offset * 4), lanes) + e.loadLanes(e.at(bias, offset * 4), lanes), e.at(to, offset * 4), lanes);
    });
  });
  e.finish();
}

void emitExpertBiasSum(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t n = kernel.n(), slots = kernel.top_k();
  Val weights = e.in(0), experts = e.in(1), biases = e.in(2), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    Val weight = rowAt(e, weights, row, slots), chosen = rowAt(e, experts, row, slots), o = rowAt(e, out, row, n);
    e.columns(n, [&](Val offset, int lanes) {
      Vals sum = e.loop(e.i(0), e.i(slots), 1, {e.fv(0)}, [&](Val slot, Vals acc) {
        Val v = e.loadLanes(e.at(rowAt(e, biases, e.index(chosen, slot), n), offset * 4), lanes);
        return Vals{e.fma(v, e.broadcast(e.f32, e.at(weight, slot * 4)), acc[0])};
      });
      e.storeLanes(sum[0], e.at(o, offset * 4), lanes);
    });
  });
  e.finish();
}

void emitWeightedSum(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t n = kernel.n(), slots = kernel.top_k();
  Val y = e.in(0), weights = e.in(1), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    Val first = rowAt(e, y, row * slots, n), weight = rowAt(e, weights, row, slots), o = rowAt(e, out, row, n);
    e.columns(n, [&](Val offset, int lanes) {
      Vals sum = e.loop(e.i(0), e.i(slots), 1, {e.fv(0)}, [&](Val slot, Vals acc) {
        Val v = e.loadLanes(e.at(rowAt(e, first, slot, n), offset * 4), lanes);
        return Vals{e.fma(v, e.broadcast(e.f32, e.at(weight, slot * 4)), acc[0])};
      });
      e.storeLanes(sum[0], e.at(o, offset * 4), lanes);
    });
  });
  e.finish();
}

}  // namespace exo::codegen
