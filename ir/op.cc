#include "ir/op.h"

#include <array>

#include "ir/ops/definitions.h"

namespace exo {

Cost& Cost::operator+=(const Cost& other) {
  flops += other.flops;
  weight_bytes += other.weight_bytes;
  state_bytes += other.state_bytes;
  activation_bytes += other.activation_bytes;
  wire_bytes += other.wire_bytes;
  return *this;
}

namespace {

std::vector<std::string> splitAt(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

const std::array kDefinitions = {
#define EXO_OP(name, def) &def,
#include "ir/ops/ops.def"
#undef EXO_OP
};

constexpr std::array kAllOps = {
#define EXO_OP(name, def) Op::k##name,
#include "ir/ops/ops.def"
#undef EXO_OP
};

}  // namespace

FactorMap factors(std::string_view map, std::string_view whole, Partial::Kind reduction) {
  const size_t arrow = map.find("->");
  FactorMap result;
  if (arrow > 0) result.operands = splitAt(map.substr(0, arrow), ',');
  result.results = splitAt(map.substr(arrow + 2), ',');
  result.whole = whole;
  result.reduction = reduction;
  return result;
}

int64_t Tensor::rows() const {
  int64_t count = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) count *= shape[i];
  return count;
}

const OpDef& definition(Op op) { return *kDefinitions[static_cast<size_t>(op)]; }

const OpDef* findOp(std::string_view mnemonic, Op* op) {
  for (Op candidate : kAllOps) {
    if (definition(candidate).mnemonic != mnemonic) continue;
    *op = candidate;
    return &definition(candidate);
  }
  return nullptr;
}

std::span<const Op> allOps() { return kAllOps; }

}  // namespace exo
