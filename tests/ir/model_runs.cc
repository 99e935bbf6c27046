#include "model_runs.h"

#include <algorithm>
#include <cmath>

namespace exo::testing {

namespace {

/// Symmetric rounding of one block to `levels` steps on each side of zero.
void roundBlock(std::span<float> block, float levels) {
  float largest = 0;
  for (float x : block) largest = std::max(largest, std::fabs(x));
  const float scale = largest / levels;
  for (float& x : block) x = scale > 0 ? std::nearbyint(x / scale) * scale : 0;
}

void roundRows(std::vector<float>& values, size_t columns, Encoding encoding) {
  if (!isBlocked(encoding)) return;
  for (size_t row = 0; row < values.size(); row += columns) {
    for (size_t at = 0; at < columns; at += kQuantBlock) {
      roundBlock(std::span(values).subspan(row + at, std::min<size_t>(kQuantBlock, columns - at)), encoding == Encoding::kW8 ? 127.0f : 7.0f);
    }
  }
}

std::string numbered(std::string tensor, int64_t number) {
  const size_t star = tensor.find('*');
  return star == std::string::npos ? tensor : tensor.replace(star, 1, std::to_string(number));
}

}  // namespace

WeightFn weightsFrom(std::shared_ptr<const TensorSource> source) {
  return [source](const WeightAttrs& attrs, const Type& type, std::vector<float>& out) -> Status {
    out.assign(static_cast<size_t>(elements(type)), 0);
    const size_t lead = attrs.stack > 0 ? 1 : 0, rank = type.rank();
    const auto range = [&](size_t d) { return Range{attrs.begin[d], attrs.begin[d] + type.shape[d].size()}; };
    const Range columns = range(rank - 1), rows = rank - lead == 2 ? range(lead) : Range{0, 1};
    const size_t size = static_cast<size_t>(rows.size() * columns.size());
    for (int64_t i = 0; i < (lead ? type.shape[0].size() : 1) && size > 0; ++i) {
      const TensorRef tensor{numbered(attrs.tensor, lead ? attrs.begin[0] + i : 0), attrs.shape};
      EXO_TRY(source->readRows(tensor, {rows.begin, rows.end, columns.begin, columns.end}, std::span(out).subspan(static_cast<size_t>(i) * size, size)));
    }
    if (columns.size() > 0) roundRows(out, static_cast<size_t>(columns.size()), type.encoding);
    return {};
  };
}

void appendTokens(InterpreterStep& step, int32_t sequence, int32_t start, const std::vector<int32_t>& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    step.rows.push_back(static_cast<int32_t>(step.tokens.size()));
    step.tokens.push_back(tokens[i]);
    step.positions.push_back(start + static_cast<int32_t>(i));
    step.sequence.push_back(sequence);
  }
}

Result<std::vector<std::vector<float>>> ModelRun::logits(const InterpreterStep& step) {
  EXO_ASSIGN(auto ranks, interpreter_.step(step));
  const Tensor* values = nullptr;
  const Tensor* ids = nullptr;
  for (size_t r = 0; r < ranks.size(); ++r) {
    const Graph& graph = module_.graphs[r];
    if (graph.outputs.empty()) continue;
    const Tensor& v = ranks[r].at(graph.value(graph.outputs[0]).name);
    const Tensor& i = ranks[r].at(graph.value(graph.outputs[1]).name);
    if (values && (values->f != v.f || ids->i != i.i)) return makeError(ErrorCode::kMismatch, "rank ", r, " has other bits than rank 0");
    if (!values) values = &v, ids = &i;
  }
  if (!values) return makeError(ErrorCode::kMismatch, "no rank has outputs");
  const size_t vocabulary = static_cast<size_t>(values->columns());
  std::vector<std::vector<float>> logits(step.rows.size(), std::vector<float>(vocabulary, NAN));
  for (size_t at = 0; at < values->f.size(); ++at) {
    if (ids->i[at] < 0 || static_cast<size_t>(ids->i[at]) >= vocabulary) return makeError(ErrorCode::kMismatch, "candidate ", ids->i[at], " is not in the vocabulary");
    logits[at / vocabulary][static_cast<size_t>(ids->i[at])] = values->f[at];
  }
  return logits;
}

int argmax(const std::vector<float>& row) { return static_cast<int>(std::max_element(row.begin(), row.end()) - row.begin()); }

Difference compare(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& wanted) {
  Difference difference;
  float low = INFINITY, high = -INFINITY;
  if (got.size() != wanted.size()) difference.largest = INFINITY;
  for (size_t r = 0; r < std::min(got.size(), wanted.size()); ++r) {
    difference.argmax_differs += argmax(got[r]) != argmax(wanted[r]);
    for (size_t c = 0; c < wanted[r].size(); ++c) {
      low = std::min(low, wanted[r][c]), high = std::max(high, wanted[r][c]);
      const double d = std::fabs(static_cast<double>(got[r][c]) - wanted[r][c]);
      if (!(d <= difference.largest)) difference = {std::isnan(d) ? INFINITY : d, 0, r, c, difference.argmax_differs};
    }
  }
  difference.range = high - low;
  return difference;
}

}  // namespace exo::testing
