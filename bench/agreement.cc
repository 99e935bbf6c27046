#include "bench/agreement.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>

#include "codegen/layout.h"
#include "executor/runtime/batch.h"
#include "executor/runtime/engine.h"
#include "executor/weight_source.h"
#include "frontend/driver/compile.h"
#include "frontend/topology/topology.h"
#include "ir/interpreter.h"

namespace exo::bench {
namespace {

using Rows = std::vector<std::vector<float>>;

/// What the packed weights mean, in f32.
Status roundAsPacked(const TensorSource& source, const std::string& tensor, program::Encoding encoding, int64_t rows, int64_t columns, std::span<float> values) {
  std::vector<std::byte> packed(static_cast<size_t>(codegen::packedBytes(encoding, rows, columns)));
  const auto row = [&](int64_t index, std::span<float> out) -> Status {
    std::copy_n(values.begin() + index * columns, columns, out.begin());
    return {};
  };
  const auto scales = [&](int64_t index, std::span<uint16_t> out) { return source.readScales(tensor, index, 0, out); };
  EXO_TRY(codegen::packPanels(encoding, rows, columns, row, packed, scales));
  for (int64_t index = 0; index < rows; ++index)
    codegen::unpackRow(encoding, rows, columns, packed, index, values.subspan(static_cast<size_t>(index * columns), static_cast<size_t>(columns)));
  return {};
}

std::string numbered(std::string tensor, int64_t number) {
  const size_t star = tensor.find('*');
  return star == std::string::npos ? tensor : tensor.replace(star, 1, std::to_string(number));
}

/// Whole tensors: the graph is one node's.
WeightFn weightsOf(const TensorSource& source) {
  return [&source](const WeightAttrs& attrs, const Type& type, std::vector<float>& out) -> Status {
    out.assign(static_cast<size_t>(elements(type)), 0);
    const int64_t stack = attrs.stack > 0 ? attrs.stack : 1;
    const TensorRef shape{"", attrs.shape};
    const auto size = static_cast<size_t>(shape.rows() * shape.columns());
    EXO_CHECK(size * static_cast<size_t>(stack) == out.size());
    for (int64_t i = 0; i < stack; ++i) {
      const TensorRef tensor{numbered(attrs.tensor, i), attrs.shape};
      const std::span<float> values = std::span(out).subspan(static_cast<size_t>(i) * size, size);
      EXO_TRY(source.readAll(tensor, values));
      if (type.encoding != Encoding::kF32)
        EXO_TRY(roundAsPacked(source, tensor.name, static_cast<program::Encoding>(type.encoding), tensor.rows(), tensor.columns(), values));
    }
    return {};
  };
}

/// The value that candidates are taken from.
Result<std::string> logitsName(const Graph& graph) {
  for (const Node& node : graph.nodes)
    if (node.op == Op::kTopK) return graph.value(node.operands[0]).name;
  return makeError(ErrorCode::kUnsupported, "the graph has no top_k, so its logits are not known");
}

/// One sequence, any number of tokens at a time; logits of all of them.
class Reference {
 public:
  static Result<Reference> create(Module module, const TensorSource& source, int64_t max_context) {
    EXO_ASSIGN(std::string logits, logitsName(module.graphs[0]));
    return Reference(std::move(module), source, max_context, std::move(logits));
  }
  Result<Rows> step(std::span<const int32_t> tokens, int64_t position) {
    InterpreterStep step;
    for (size_t i = 0; i < tokens.size(); ++i) {
      step.tokens.push_back(tokens[i]);
      step.positions.push_back(static_cast<int32_t>(position) + static_cast<int32_t>(i));
      step.sequence.push_back(0);
      step.rows.push_back(static_cast<int32_t>(i));
    }
    EXO_ASSIGN(const auto values, interpreter_.step(step));
    const Tensor& logits = values[0].at(logits_);
    Rows rows;
    for (int64_t row = 0; row < logits.rows(); ++row)
      rows.emplace_back(logits.f.begin() + row * logits.columns(), logits.f.begin() + (row + 1) * logits.columns());
    return rows;
  }

 private:
  Reference(Module module, const TensorSource& source, int64_t max_context, std::string logits)
      : interpreter_(std::move(module), weightsOf(source), max_context), logits_(std::move(logits)) {}
  Interpreter interpreter_;
  std::string logits_;
};

/// The same over the engine.
class Executed {
 public:
  static Result<Executed> create(const program::Program& program, const TensorSource& source) {
    const std::atomic<bool> cancel{false};
    EXO_ASSIGN(auto engine, runtime::Engine::create(program, {}, weightReader(source, cancel), nullptr));
    return Executed(std::move(engine));
  }
  Result<Rows> step(std::span<const int32_t> tokens, int64_t position) {
    batch_.clear();
    batch_.add(tokens, position, pages_, runtime::WantRows::kAll);
    runtime::StepOutput output;
    EXO_TRY(engine_->step(batch_.input(), &output));
    Rows rows;
    for (int64_t row = 0; row < output.rows; ++row)
      rows.emplace_back(output.logits.begin() + row * output.logits_columns, output.logits.begin() + (row + 1) * output.logits_columns);
    return rows;
  }

 private:
  explicit Executed(std::unique_ptr<runtime::Engine> engine) : engine_(std::move(engine)) {
    for (int64_t page = 0; page < engine_->limits().num_pages; ++page) pages_.push_back(static_cast<int32_t>(page));
  }
  std::unique_ptr<runtime::Engine> engine_;
  std::vector<int32_t> pages_;
  runtime::Batch batch_;
};

int32_t best(const std::vector<float>& row) { return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()); }

double rangeOf(const std::vector<float>& row) {
  const auto [low, high] = std::minmax_element(row.begin(), row.end());
  return std::max(1e-30, static_cast<double>(*high) - *low);
}

/// The best token's logit over the second.
double leadOf(std::vector<float> row) {
  std::nth_element(row.begin(), row.begin() + 1, row.end(), std::greater<>());
  return static_cast<double>(row[0]) - row[1];
}

double varianceOf(const std::vector<float>& row) {
  double sum = 0, squares = 0;
  for (const float value : row) sum += value, squares += static_cast<double>(value) * value;
  const auto count = static_cast<double>(row.size());
  return std::max(0.0, squares / count - sum / count * (sum / count));
}

class Comparison {
 public:
  void add(const std::vector<float>& got, const std::vector<float>& wanted) {
    const double range = rangeOf(wanted);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double difference = std::fabs(static_cast<double>(got[i]) - wanted[i]);
      parts_.push_back(difference / range);
      squares_ += difference * difference;
    }
    variance_ += varianceOf(wanted) * static_cast<double>(wanted.size());
    ++rows_;
    if (best(got) == best(wanted)) ++equal_best_;
    else smallest_lead_ = smallest_lead_ == 0 ? leadOf(wanted) / range : std::min(smallest_lead_, leadOf(wanted) / range);
  }
  void writeTo(Agreement& result) {
    std::sort(parts_.begin(), parts_.end());
    const auto place = [&](double part) { return parts_[static_cast<size_t>(part * static_cast<double>(parts_.size() - 1))]; };
    result.rows = rows_;
    result.columns = static_cast<int64_t>(parts_.size()) / rows_;
    result.relative_rms = std::sqrt(squares_ / variance_);
    for (const double part : parts_) result.mean += part / static_cast<double>(parts_.size());
    result.p50 = place(0.5);
    result.p99 = place(0.99);
    result.max = place(1);
    result.equal_best = static_cast<double>(equal_best_) / static_cast<double>(rows_);
    result.smallest_lead = smallest_lead_;
  }

 private:
  std::vector<double> parts_;
  double squares_ = 0, variance_ = 0, smallest_lead_ = 0;
  int64_t rows_ = 0, equal_best_ = 0;
};

/// The reference's greedy continuation, and the executor's logits for the same tokens.
Result<std::vector<int32_t>> compareForced(Reference& reference, Executed& executed, const AgreementRequest& request, std::span<const int32_t> prompt, Comparison& comparison) {
  std::vector<int32_t> said, next(prompt.begin(), prompt.end());
  int64_t position = 0;
  while (true) {
    EXO_ASSIGN(const Rows wanted, reference.step(next, position));
    EXO_ASSIGN(const Rows got, executed.step(next, position));
    EXO_CHECK(got.size() == wanted.size());
    for (size_t row = 0; row < wanted.size(); ++row) comparison.add(got[row], wanted[row]);
    if (static_cast<int64_t>(said.size()) == request.max_tokens) return said;
    position += static_cast<int64_t>(next.size());
    said.push_back(best(wanted.back()));
    next = {said.back()};
  }
}

/// How many tokens of `said` the executor says by itself before another one.
Result<int64_t> greedyAgreement(Executed& executed, std::span<const int32_t> prompt, std::span<const int32_t> said) {
  std::vector<int32_t> next(prompt.begin(), prompt.end());
  int64_t position = 0;
  for (size_t i = 0; i < said.size(); ++i) {
    EXO_ASSIGN(const Rows rows, executed.step(next, position));
    if (best(rows.back()) != said[i]) return static_cast<int64_t>(i);
    position += static_cast<int64_t>(next.size());
    next = {said[i]};
  }
  return static_cast<int64_t>(said.size());
}

Status check(const AgreementRequest& request) {
  if (request.prompts.empty()) return invalid("expected at least one prompt");
  for (const auto& prompt : request.prompts)
    if (prompt.empty()) return invalid("expected prompts of at least one token");
  if (request.max_tokens < 0) return invalid("max_tokens must not be negative, got ", request.max_tokens);
  return {};
}

const Module& moduleAfter(const Compiled& compiled, const std::string& pass) {
  const auto found = std::find_if(compiled.dumps.begin(), compiled.dumps.end(), [&](const auto& dump) { return dump.first == pass; });
  EXO_CHECK(found != compiled.dumps.end()) << pass;
  return found->second;
}

}  // namespace

Result<Agreement> agreementOf(const AgreementRequest& request) {
  EXO_TRY(check(request));
  CompileOptions options;
  options.quantization = request.quantization;
  options.topology = loopbackTopology(1);
  for (const auto& prompt : request.prompts) options.max_context = std::max(options.max_context, static_cast<int64_t>(prompt.size()) + request.max_tokens);
  EXO_ASSIGN(const Model model, openModel(request.model.string()));
  if (!model.checkpoint) return invalid("expected a model with weights, got ", request.model);
  EXO_ASSIGN(const Compiled compiled, compile(model, options));
  EXO_ASSIGN(const auto source, openWeights(model.directory.string(), std::nullopt));
  const Module& module = moduleAfter(compiled, "partition");  // before activations are quantised
  Agreement result;
  Comparison comparison;
  for (const auto& prompt : request.prompts) {
    EXO_ASSIGN(Reference reference, Reference::create(module, *source, options.max_context));
    EXO_ASSIGN(Executed executed, Executed::create(compiled.plan.programs(0), *source));
    EXO_ASSIGN(const auto said, compareForced(reference, executed, request, prompt, comparison));
    result.greedy_tokens += static_cast<int64_t>(said.size());
    EXO_ASSIGN(const int64_t equal, greedyAgreement(executed, prompt, said));
    result.greedy_equal += equal;
  }
  comparison.writeTo(result);
  result.layers = model.config.num_layers;
  return result;
}

}  // namespace exo::bench
