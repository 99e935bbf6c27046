#include "codegen/emit_program.h"

#include <map>

#include "codegen/layout.h"
#include "ir/text.h"

namespace exo::codegen {

namespace {

using program::Call;
using program::Kernel;

program::Extent extentOf(const Type& type) {
  if (type.rank() == 3) return program::EXPERT_ROWS;
  if (type.rank() == 0 || !type.shape[0].isSymbol()) return program::ONE;
  return type.shape[0] == R ? program::ROWS : program::TOKENS;
}

uint64_t columnsOf(const Type& type) {
  if (extentOf(type) == program::ONE) return static_cast<uint64_t>(elements(type));
  return type.rank() == 1 ? 1 : static_cast<uint64_t>(type.shape.back().size());
}

/// A cache of keys that hold the values.
bool isLatent(const Type& cache) { return cache.shape[1] == Dim(1); }

class Emitter {
 public:
  Emitter(const Graph& graph, const ProgramLimits& limits)
      : graph_(graph), step_{limits.max_tokens, limits.max_tokens, limits.max_rows}, producer_(graph.producers()) {
    program_.set_model(graph.name);
    program_.set_rank(static_cast<uint32_t>(*graph.rank));
    program_.set_world_size(static_cast<uint32_t>(graph.mesh.numRanks()));
    program_.set_max_tokens(static_cast<uint64_t>(limits.max_tokens));
    program_.set_max_rows(static_cast<uint64_t>(limits.max_rows));
    program_.set_max_context(static_cast<uint64_t>(limits.max_context));
    program_.set_page_tokens(kPageTokens);
    program_.set_num_pages(static_cast<uint64_t>(limits.num_pages));
    program_.set_vocab_size(static_cast<uint64_t>(limits.vocab_size));
    program_.set_arena_bytes(static_cast<uint64_t>(limits.arena_bytes));
  }

  Result<program::Program> run() {
    for (const Node& node : graph_.nodes) {
      bind(node);
      if (definition(node.op).has(kSource) && node.op != Op::kRecv) continue;
      if (!nothingToDo(node)) EXO_TRY(call(node));
    }
    outputs();
    return std::move(program_);
  }

 private:
  const Type& type(ValueId id) const { return graph_.value(id).type; }
  const Node& producer(ValueId id) const { return graph_.nodes[static_cast<size_t>(producer_[static_cast<size_t>(id)])]; }
  static uint64_t size(Dim dim) { return static_cast<uint64_t>(dim.size()); }

  /// A rank without a share of a split has nothing to compute there; messages are met all the same.
  bool nothingToDo(const Node& node) const {
    if (definition(node.op).has(kCollective)) return false;
    if (node.op == Op::kKvAppend) return elements(type(node.operands[0])) == 0;
    for (ValueId id : node.results) {
      if (elements(type(id)) != 0) return false;
    }
    return true;
  }

  // --- buffers, weights, caches -----------------------------------------------------------------------------------
  void bind(const Node& node) {
    if (node.op == Op::kWeight) return bindWeight(node);
    if (node.op == Op::kCache) return bindCache(node);
    if (node.op == Op::kKvAppend) {
      operands_[node.results[0]] = operands_.at(node.operands[0]);
      return;
    }
    if (node.op == Op::kRopeTable) return;
    for (ValueId id : node.results) bindBuffer(node, id);
  }
  void bindBuffer(const Node& node, ValueId id) {
    const Value& value = graph_.value(id);
    program::Buffer& buffer = *program_.add_buffers();
    buffer.set_name(value.name);
    buffer.set_encoding(toProgram(value.type.encoding));
    buffer.set_rows(extentOf(value.type));
    buffer.set_columns(columnsOf(value.type));
    buffer.set_offset_bytes(static_cast<uint64_t>(value.offset.value_or(0)));
    const int64_t rows = extentOf(value.type) == program::ONE ? 1 : elements({value.type.encoding, {value.type.shape.begin(), value.type.shape.end() - (value.type.rank() > 1 ? 1 : 0)}}, step_);
    buffer.set_size_bytes(static_cast<uint64_t>(rows * activationRowBytes(buffer.encoding(), static_cast<int64_t>(buffer.columns()))));
    if (node.op == Op::kInput) buffer.set_input(std::get<InputAttrs>(node.attrs).source);
    operands_[id].set_buffer(static_cast<uint32_t>(program_.buffers_size() - 1));
  }
  void bindWeight(const Node& node) {
    const Value& value = graph_.value(node.results[0]);
    const auto& attrs = std::get<WeightAttrs>(node.attrs);
    const size_t lead = attrs.stack > 0 ? 1 : 0;
    if (lead && value.type.shape[0] == Dim(0)) return;  // no heads on this rank, and no call that reads them
    program::Weight& weight = *program_.add_weights();
    weight.set_name(value.name);
    weight.set_encoding(toProgram(value.type.encoding));
    const bool vector = value.type.rank() - lead == 1;
    weight.set_layout(vector ? program::Weight::VECTOR : program::Weight::PANELS);
    weight.set_rows(vector ? 1 : size(value.type.shape[lead]));
    weight.set_columns(size(value.type.shape.back()));
    const int64_t count = lead ? value.type.shape[0].size() : 1;
    for (int64_t i = 0; i < count; ++i) {
      program::TensorSlice& slice = *weight.add_slices();
      std::string tensor = attrs.tensor;
      if (lead) tensor.replace(tensor.find('*'), 1, std::to_string(attrs.begin[0] + i));
      slice.set_tensor(tensor);
      slice.set_rows(vector ? 1 : static_cast<uint64_t>(attrs.shape[0]));
      slice.set_columns(static_cast<uint64_t>(attrs.shape.back()));
      slice.set_row_begin(vector ? 0 : static_cast<uint64_t>(attrs.begin[lead]));
      slice.set_row_end(slice.row_begin() + weight.rows());
      slice.set_column_begin(static_cast<uint64_t>(attrs.begin.back()));
      slice.set_column_end(slice.column_begin() + weight.columns());
    }
    operands_[node.results[0]].set_weight(static_cast<uint32_t>(program_.weights_size() - 1));
  }
  void bindCache(const Node& node) {
    const Value& value = graph_.value(node.results[0]);
    program::Cache& cache = *program_.add_caches();
    cache.set_name(value.name);
    cache.set_encoding(toProgram(value.type.encoding));
    cache.set_kv_heads(size(value.type.shape[2]));
    cache.set_key_dim(size(value.type.shape[3]));
    cache.set_value_dim(isLatent(value.type) ? 0 : size(value.type.shape[3]));
    operands_[node.results[0]].set_cache(static_cast<uint32_t>(program_.caches_size() - 1));
  }

  // --- calls ------------------------------------------------------------------------------------------------------
  Status call(const Node& node) {
    Call& call = *program_.add_calls();
    call.set_name(node.results.empty() ? "send " + graph_.value(node.operands[0]).name : graph_.value(node.results[0]).name);
    call.set_region(node.region);
    call.set_chain(chainOf(node));
    if (definition(node.op).has(kCollective)) return collective(node, call);
    call.set_rows(node.op == Op::kKvAppend ? program::TOKENS : extentOf(type(node.results[0])));
    EXO_ASSIGN(Kernel kernel, kernelFor(node));
    call.set_kernel(kernelIndex(kernel));
    for (ValueId id : dataOperands(node)) *call.add_in() = operands_.at(id);
    if (node.op == Op::kKvAppend) return {};
    for (ValueId id : node.results) *call.add_out() = operands_.at(id);
    return {};
  }
  /// Chains are numbered without those of which this rank has no share.
  uint32_t chainOf(const Node& node) {
    if (node.region != region_) {
      region_ = node.region;
      chain_ = node.chain;
      num_chains_ = 0;
    } else if (node.chain != chain_) {
      chain_ = node.chain;
      ++num_chains_;
    }
    return num_chains_;
  }
  /// Operands in the order of kernels.md; positions and tables reach kernels by other ways.
  std::vector<ValueId> dataOperands(const Node& node) const {
    const auto& in = node.operands;
    if (node.op == Op::kKvAppend && isLatent(type(in[0]))) return {in[1], in[0]};
    if (node.op == Op::kKvAppend) return {in[1], in[2], in[0]};
    if (node.op == Op::kAttention) return in.size() > 3 ? std::vector<ValueId>{in[0], in[1], in[3]} : std::vector<ValueId>{in[0], in[1]};
    if (node.op == Op::kRope) return {in[0]};
    return in;
  }
  uint32_t kernelIndex(const Kernel& kernel) {
    auto [found, fresh] = kernels_.try_emplace(kernel.SerializeAsString(), static_cast<uint32_t>(program_.kernels_size()));
    if (fresh) *program_.add_kernels() = kernel;
    return found->second;
  }
  Result<Kernel> kernelFor(const Node& node) const;
  Status collective(const Node& node, Call& call) {
    program::Collective& c = *call.mutable_collective();
    for (ValueId id : node.operands) *call.add_in() = operands_.at(id);
    for (ValueId id : node.results) *call.add_out() = operands_.at(id);
    const ValueId first = node.operands.empty() ? node.results[0] : node.operands[0];
    call.set_rows(extentOf(type(first)));
    if (node.op == Op::kSend) {
      c.set_op(program::Collective::SEND);
      for (int64_t peer : std::get<SendAttrs>(node.attrs).to) c.add_peers(static_cast<uint32_t>(peer));
      return {};
    }
    if (node.op == Op::kRecv) {
      c.set_op(program::Collective::RECV);
      c.add_peers(static_cast<uint32_t>(std::get<RecvAttrs>(node.attrs).from));
      return {};
    }
    const int stage = graph_.mesh.stageOf(*graph_.rank);
    for (int i = 0; i < graph_.mesh.stage_sizes[static_cast<size_t>(stage)]; ++i) c.add_ranks(static_cast<uint32_t>(graph_.mesh.firstRank(stage) + i));
    if (node.op == Op::kAllGather) {
      c.set_op(program::Collective::ALL_GATHER);
      for (int64_t extent : std::get<GatherAttrs>(node.attrs).extents) c.add_extents(static_cast<uint64_t>(extent));
    } else {
      c.set_op(node.op == Op::kAllReduce ? program::Collective::ALL_REDUCE : program::Collective::TOP_K_MERGE);
    }
    return {};
  }

  void outputs() {
    if (graph_.outputs.size() == 2) {
      program_.set_output_values(operands_.at(graph_.outputs[0]).buffer());
      program_.set_output_ids(operands_.at(graph_.outputs[1]).buffer());
    }
    for (const Node& node : graph_.nodes) {
      if (node.op != Op::kTopK) continue;
      program_.set_logits(operands_.at(node.operands[0]).buffer());
      program_.set_logits_begin(static_cast<uint64_t>(std::get<TopKAttrs>(node.attrs).begin));
    }
  }

  const Graph& graph_;
  StepSize step_;
  std::vector<int> producer_;
  program::Program program_;
  std::map<ValueId, program::Operand> operands_;
  std::map<std::string, uint32_t> kernels_;
  std::string region_;       // of the last call, its chain in the graph and in the program
  int chain_ = 0;
  uint32_t num_chains_ = 0;
};

Kernel::Op kernelOp(Op op) {
  switch (op) {
    case Op::kEmbed: return Kernel::EMBED;
    case Op::kRmsNorm: return Kernel::RMS_NORM;
    case Op::kHeadNorm: return Kernel::HEAD_NORM;
    case Op::kSquareSum: return Kernel::SQUARE_SUM;
    case Op::kNormBySum: return Kernel::NORM_BY_SUM;
    case Op::kSigmoidMul: return Kernel::SIGMOID_MUL;
    case Op::kSoftCap: return Kernel::SOFT_CAP;
    case Op::kQuantize: return Kernel::QUANTIZE;
    case Op::kMatMul: return Kernel::MATMUL;
    case Op::kHeadMatMul: return Kernel::HEAD_MATMUL;
    case Op::kHeadConcat: return Kernel::HEAD_CONCAT;
    case Op::kBiasAdd: return Kernel::BIAS_ADD;
    case Op::kAdd: return Kernel::ADD;
    case Op::kSiluMul: return Kernel::SILU_MUL;
    case Op::kRope: return Kernel::ROPE;
    case Op::kKvAppend: return Kernel::KV_APPEND;
    case Op::kAttention: return Kernel::ATTENTION;
    case Op::kTakeRows: return Kernel::TAKE_ROWS;
    case Op::kTopK: return Kernel::TOP_K;
    case Op::kRouterTopK: return Kernel::ROUTER_TOP_K;
    case Op::kExpertDispatch: return Kernel::EXPERT_DISPATCH;
    case Op::kExpertMatMul: return Kernel::EXPERT_MATMUL;
    case Op::kExpertBiasAdd: return Kernel::EXPERT_BIAS_ADD;
    case Op::kExpertBiasSum: return Kernel::EXPERT_BIAS_SUM;
    case Op::kWeightedSum: return Kernel::WEIGHTED_SUM;
    default: return Kernel::UNSPECIFIED;
  }
}

Kernel::Gate kernelGate(Gate gate) {
  switch (gate) {
    case Gate::kSilu: return Kernel::SILU;
    case Gate::kGeluTanh: return Kernel::GELU_TANH;
    case Gate::kClampedSwiGlu: return Kernel::CLAMPED_SWIGLU;
  }
  return Kernel::SILU;
}

/// What a kernel must know of its node besides op and sizes, one op at a time.
Result<Kernel> Emitter::kernelFor(const Node& node) const {
  Kernel kernel;
  kernel.set_op(kernelOp(node.op));
  if (kernel.op() == Kernel::UNSPECIFIED) return makeError(ErrorCode::kUnsupported, "no kernel for ", print(graph_, node));
  const Type& out = node.results.empty() ? type(node.operands[0]) : type(node.results[0]);
  if (out.rank() >= 2) kernel.set_n(size(out.shape.back()));
  kernel.set_grain(static_cast<uint64_t>(node.grain));
  switch (node.op) {
    case Op::kEmbed:
      kernel.set_weight(toProgram(type(node.operands[1]).encoding));
      kernel.set_n(size(type(node.operands[1]).shape[0]));
      kernel.set_k(size(type(node.operands[1]).shape[1]));
      kernel.set_index_offset(static_cast<uint64_t>(std::get<EmbedAttrs>(node.attrs).begin));
      if (const double scale = std::get<EmbedAttrs>(node.attrs).scale; scale != 1) kernel.set_factor(static_cast<float>(scale));
      break;
    case Op::kMatMul:
    case Op::kExpertMatMul: {
      const Type& x = type(node.operands[0]);
      kernel.set_weight(toProgram(type(node.operands[1]).encoding));
      kernel.set_input(toProgram(x.encoding));
      kernel.set_k(size(x.shape.back()));
      if (node.op == Op::kMatMul) break;
      kernel.set_experts(size(type(node.operands[1]).shape[0]));
      kernel.set_top_k(size(type(node.operands[2]).shape[1]));
      kernel.set_group(x.rank() == 2 ? kernel.top_k() : 1);
      break;
    }
    case Op::kHeadMatMul:
      kernel.set_weight(toProgram(type(node.operands[1]).encoding));
      kernel.set_input(toProgram(type(node.operands[0]).encoding));
      kernel.set_heads(size(type(node.operands[1]).shape[0]));
      kernel.set_head_dim(static_cast<uint64_t>(std::get<HeadMatMulAttrs>(node.attrs).head_dim));
      kernel.set_n(size(type(node.operands[1]).shape[1]));
      kernel.set_k(size(type(node.operands[1]).shape[2]));
      break;
    case Op::kHeadConcat: {
      const auto& a = std::get<HeadConcatAttrs>(node.attrs);
      kernel.set_heads(kernel.n() / static_cast<uint64_t>(a.first_dim + a.tail));
      kernel.set_k(static_cast<uint64_t>(a.first_dim));
      kernel.set_head_dim(static_cast<uint64_t>(a.second_dim));
      break;
    }
    case Op::kQuantize: kernel.set_k(kernel.n()); break;
    case Op::kRmsNorm:
      kernel.set_epsilon(static_cast<float>(std::get<NormAttrs>(node.attrs).epsilon));
      kernel.set_weight_offset(static_cast<float>(std::get<NormAttrs>(node.attrs).offset));
      break;
    case Op::kSquareSum: kernel.set_n(size(type(node.operands[0]).shape[1])); break;
    case Op::kNormBySum:
      kernel.set_k(static_cast<uint64_t>(std::get<NormBySumAttrs>(node.attrs).width));
      kernel.set_epsilon(static_cast<float>(std::get<NormBySumAttrs>(node.attrs).epsilon));
      break;
    case Op::kSiluMul:
      kernel.set_gate(kernelGate(std::get<GateAttrs>(node.attrs).gate));
      kernel.set_gate_limit(static_cast<float>(std::get<GateAttrs>(node.attrs).limit));
      break;
    case Op::kSoftCap: kernel.set_soft_cap(static_cast<float>(std::get<SoftCapAttrs>(node.attrs).cap)); break;
    case Op::kHeadNorm: {
      const auto& a = std::get<HeadNormAttrs>(node.attrs);
      kernel.set_epsilon(static_cast<float>(a.epsilon));
      kernel.set_weight_offset(static_cast<float>(a.offset));
      kernel.set_head_dim(static_cast<uint64_t>(a.head_dim));
      kernel.set_heads(kernel.n() / kernel.head_dim());
      break;
    }
    case Op::kRope: {
      const auto& a = std::get<RopeAttrs>(node.attrs);
      kernel.set_head_dim(static_cast<uint64_t>(a.head_dim));
      kernel.set_heads(kernel.n() / kernel.head_dim());
      kernel.set_rotary_dim(static_cast<uint64_t>(a.rotary_dim));
      kernel.set_scale(static_cast<float>(a.scale));
      kernel.set_rotary_begin(static_cast<uint64_t>(a.begin));
      kernel.set_interleaved(a.interleaved);
      for (double f : std::get<RopeTableAttrs>(producer(node.operands[2]).attrs).frequencies) kernel.add_rope_frequencies(static_cast<float>(f));
      break;
    }
    case Op::kKvAppend:
    case Op::kAttention: {
      const Type& cache = type(node.op == Op::kKvAppend ? node.operands[0] : node.operands[1]);
      kernel.set_n(0);
      kernel.set_cache(toProgram(cache.encoding));
      kernel.set_kv_heads(size(cache.shape[2]));
      kernel.set_head_dim(size(cache.shape[3]));
      // The cache alone does not tell how much of a key is its value; to what appends it is all one.
      if (node.op == Op::kKvAppend && isLatent(cache)) kernel.set_value_dim(kernel.head_dim());
      if (node.op == Op::kKvAppend) break;
      const auto& a = std::get<AttentionAttrs>(node.attrs);
      kernel.set_value_dim(static_cast<uint64_t>(a.value_dim));
      kernel.set_heads(size(type(node.operands[0]).shape[1]) / kernel.head_dim());
      kernel.set_group(static_cast<uint64_t>(a.group));
      kernel.set_first_head(static_cast<uint64_t>(a.first_head));
      kernel.set_window(static_cast<uint64_t>(a.window));
      kernel.set_scale(static_cast<float>(a.scale));
      kernel.set_soft_cap(static_cast<float>(a.soft_cap));
      kernel.set_sinks(node.operands.size() > 3);
      break;
    }
    case Op::kTopK:
      kernel.set_n(size(type(node.operands[0]).shape[1]));
      kernel.set_top_k(static_cast<uint64_t>(std::get<TopKAttrs>(node.attrs).k));
      kernel.set_index_offset(static_cast<uint64_t>(std::get<TopKAttrs>(node.attrs).begin));
      break;
    case Op::kRouterTopK: {
      const auto& a = std::get<RouterAttrs>(node.attrs);
      kernel.set_n(0);
      kernel.set_experts(size(type(node.operands[0]).shape[1]));
      kernel.set_top_k(static_cast<uint64_t>(a.k));
      kernel.set_normalize(a.normalize);
      kernel.set_factor(static_cast<float>(a.factor));
      kernel.set_scoring(a.scoring == Scoring::kSoftmax ? Kernel::SOFTMAX : Kernel::SIGMOID);
      kernel.set_bias(node.operands.size() > 1);
      if (a.groups > 1) {
        kernel.set_groups(static_cast<uint64_t>(a.groups));
        kernel.set_top_groups(static_cast<uint64_t>(a.top_groups));
      }
      break;
    }
    case Op::kExpertDispatch:
      kernel.set_n(0);
      kernel.set_experts(static_cast<uint64_t>(std::get<DispatchAttrs>(node.attrs).experts));
      kernel.set_top_k(size(out.shape[1]));
      break;
    case Op::kWeightedSum: kernel.set_top_k(size(type(node.operands[1]).shape[1])); break;
    case Op::kExpertBiasAdd:
    case Op::kExpertBiasSum: {
      const bool is_sum = node.op == Op::kExpertBiasSum;
      kernel.set_top_k(size(type(node.operands[is_sum ? 1 : 2]).shape[1]));
      kernel.set_experts(size(type(node.operands[is_sum ? 2 : 1]).shape[0]));
      break;
    }
    default: break;
  }
  return kernel;
}

}  // namespace

program::Encoding toProgram(Encoding encoding) {
  switch (encoding) {
    case Encoding::kF32: return program::F32;
    case Encoding::kBF16: return program::BF16;
    case Encoding::kF16: return program::F16;
    case Encoding::kI32: return program::I32;
    case Encoding::kW8: return program::Q8;
    case Encoding::kW4: return program::Q4;
    case Encoding::kX8: return program::X8;
  }
  return program::F32;
}

Result<program::Program> emitProgram(const Graph& graph, const ProgramLimits& limits) {
  if (!graph.rank) return invalid("emit: expected a local graph, got the global @", graph.name);
  return Emitter(graph, limits).run();
}

}  // namespace exo::codegen
