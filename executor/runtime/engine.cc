#include "executor/runtime/engine.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "codegen/layout.h"
#include "executor/runtime/attention_split.h"
#include "executor/runtime/collective_calls.h"
#include "executor/runtime/hazards.h"
#include "executor/runtime/lead_rows.h"
#include "executor/runtime/memory.h"
#include "executor/runtime/operands.h"
#include "executor/runtime/program_check.h"
#include "executor/runtime/regions.h"
#include "executor/runtime/shares.h"

namespace exo::runtime {
namespace {

using program::Buffer;
using program::Call;
using program::Operand;
using program::Program;
using Clock = std::chrono::steady_clock;

uint64_t roundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

uint64_t cacheBytes(const Program& program, const program::Cache& cache) {
  const int64_t bytes = codegen::cacheBytes(cache.encoding(), static_cast<int64_t>(program.num_pages()), static_cast<int64_t>(cache.kv_heads()),
                                            static_cast<int64_t>(cache.key_dim()), static_cast<int64_t>(cache.value_dim()));
  return roundUp(static_cast<uint64_t>(bytes), 64);
}

/// A region of less work than this (in multiplications, about a microsecond) costs less than the barrier behind it.
constexpr int64_t kSmallWork = 8192;

/// A call with everything looked up. args.rows changes from step to step.
struct ResolvedCall {
  codegen::KernelFn function = nullptr;            // null: a collective
  codegen::KernelArgs args;
  const program::Kernel* kernel = nullptr;
  RowCount row_count;
  int collective = -1;                             // index in CollectiveCalls
};

/// Chains [begin, end) of a region: all of them, or its lead, or those behind it.
struct Part {
  const Region* region;
  size_t begin, end;

  std::span<const Chain> chains() const { return std::span(region->chains).subspan(begin, end - begin); }
  bool led() const { return region->led && begin == 0 && end > 1; }
  int first() const { return region->chains[begin].first; }
  int last() const { return region->chains[end - 1].last; }
};

/// Parts [begin, end) of a step: the first is shared by all threads, unless `all_alone`; the others are run by whoever
/// comes last to the barrier behind it.
struct Stretch {
  int begin = 0, end = 0;
  bool all_alone = false;
};

/// An input of the step that calls read as an operand.
struct InputBuffer {
  enum class Source { kTokens, kPositions, kSequence, kRows } source;
  int32_t* data;
};

InputBuffer::Source inputSource(const std::string& input) {
  if (input == "tokens") return InputBuffer::Source::kTokens;
  if (input == "positions") return InputBuffer::Source::kPositions;
  return input == "sequence" ? InputBuffer::Source::kSequence : InputBuffer::Source::kRows;
}

std::span<const int32_t> arrayOf(const StepInput& input, InputBuffer::Source source) {
  switch (source) {
    case InputBuffer::Source::kTokens: return input.tokens;
    case InputBuffer::Source::kPositions: return input.positions;
    case InputBuffer::Source::kSequence: return input.sequence;
    case InputBuffer::Source::kRows: return input.rows;
  }
  return {};
}

}  // namespace

class Engine::Implementation {
 public:
  explicit Implementation(Program program)
      : program_(std::move(program)), limits_(stepLimits(program_)) {}

  Status prepare(const EngineOptions& options, const WeightReader& weights, transport::Mesh* mesh) {
    EXO_TRY(checkProgram(program_));
    if ((mesh == nullptr) != (program_.world_size() == 1))
      return invalid("a program of ", program_.world_size(), " ranks ", mesh == nullptr ? "needs" : "takes no", " mesh");
    EXO_ASSIGN(facts_, factsOf(program_));
    EXO_ASSIGN(regions_, regionsOf(program_, facts_));
    EXO_TRY(checkMemoryFits(need()));
    EXO_ASSIGN(pool_, ThreadPool::create({options.threads, options.pin}));
    EXO_TRY(compile(options));
    EXO_TRY(allocate());
    EXO_ASSIGN(splitter_, AttentionSplitter::create(program_, pool_->size()));
    statistics_.resize(static_cast<size_t>(limits_.max_rows));
    peer_waits_.resize(program_.world_size());
    EXO_ASSIGN(weights_, loadWeights(program_, weights, *pool_, options.progress, options.weight_cache));
    EXO_ASSIGN(collectives_, CollectiveCalls::create(program_, mesh, options.timeout));
    lead_rows_ = std::make_unique<LeadRows>(mostRows(), codegen::kRowBlock, pool_->size());
    return resolve();
  }

  Status step(const StepInput& input, StepOutput* output) {
    if (broken_) return *broken_;
    EXO_TRY(validate(input, limits_));
    bind(input);
    failure_.reset();
    failed_.store(false, std::memory_order_relaxed);
    prepare(0);
    pool_->run([this](int thread) { walk(thread); });
    ++profiled_steps_;
    if (failure_) {
      broken_ = *failure_;
      return *std::move(failure_);
    }
    if (output != nullptr) *output = outputs(input);
    return {};
  }

  void setProfiling(Profiling profiling) {
    profiling_ = profiling;
    profiled_steps_ = 0;
    events_.resize(static_cast<size_t>(pool_->size()));
    for (auto& of_thread : events_) {
      of_thread.clear();
      if (profiling == Profiling::kOn) of_thread.reserve(kMaxProfileEvents);
    }
  }

  std::vector<ProfileEvent> profile() const {
    std::vector<ProfileEvent> all;
    for (const auto& of_thread : events_) all.insert(all.end(), of_thread.begin(), of_thread.end());
    return all;
  }

  std::span<const double> peerWaits() const { return peer_waits_; }
  EngineMemory memory() const { return {weights_.memory.size(), caches_.size(), arena_.size(), scratch_.size() + splitter_.bytes()}; }

  Program program_;
  StepLimits limits_;
  codegen::Isa isa_ = codegen::Isa::kAuto;
  std::unique_ptr<ThreadPool> pool_;

 private:
  // --- once ---

  MemoryNeed need() const {
    MemoryNeed need{.weight_bytes = totalWeightBytes(program_), .activation_bytes = program_.arena_bytes()};
    for (const program::Cache& cache : program_.caches()) need.cache_bytes += cacheBytes(program_, cache);
    return need;
  }

  int64_t mostRows() const {
    return static_cast<int64_t>(std::max(program_.max_tokens(), program_.max_rows())) * std::max<int64_t>(facts_.experts_per_token, 1);
  }

  Status compile(const EngineOptions& options) {
    codegen::Jit* jit = options.jit;
    if (jit == nullptr) {
      EXO_ASSIGN(jit_, codegen::Jit::create({options.isa, options.object_cache_dir}));
      jit = jit_.get();
    }
    isa_ = jit->isa();
    std::vector<const program::Kernel*> kernels;
    for (const program::Kernel& kernel : program_.kernels()) kernels.push_back(&kernel);
    EXO_ASSIGN(compiled_, jit->compile(kernels));
    EXO_CHECK(compiled_.size() == kernels.size());
    return {};
  }

  Status allocate() {
    EXO_ASSIGN(arena_, Memory::allocate(program_.arena_bytes(), "activations"));
    uint64_t cache_bytes = 0;
    for (const program::Cache& cache : program_.caches()) cache_bytes += cacheBytes(program_, cache);
    EXO_ASSIGN(caches_, Memory::allocate(cache_bytes, "KV cache"));
    // A page between the scratches of two threads: no line and no huge-page fault is shared by accident.
    for (const codegen::CompiledKernel& kernel : compiled_)
      scratch_stride_ = std::max<uint64_t>(scratch_stride_, roundUp(kernel.scratch_bytes, 4096));
    EXO_ASSIGN(scratch_, Memory::allocate(scratch_stride_ * static_cast<uint64_t>(pool_->size()), "scratch of the kernels"));
    return {};
  }

  std::byte* bufferData(uint32_t index) const { return arena_.data() + program_.buffers(static_cast<int>(index)).offset_bytes(); }

  std::byte* operandData(const Operand& operand) const {
    switch (operand.kind_case()) {
      case Operand::kBuffer: return bufferData(operand.buffer());
      case Operand::kWeight: return const_cast<std::byte*>(weights_.data[operand.weight()]);
      case Operand::kCache: return cache_data_[operand.cache()];
      default: return nullptr;
    }
  }

  Status resolve() {
    std::byte* cache_data = caches_.data();
    for (const program::Cache& cache : program_.caches()) {
      cache_data_.push_back(cache_data);
      cache_data += cacheBytes(program_, cache);
    }
    for (const Buffer& buffer : program_.buffers())
      if (!buffer.input().empty())
        inputs_.push_back({inputSource(buffer.input()), reinterpret_cast<int32_t*>(arena_.data() + buffer.offset_bytes())});
    for (int i = 0; i < program_.calls_size(); ++i) EXO_TRY(resolveCall(i));
    shares_.resize(calls_.size() * static_cast<size_t>(pool_->size()));
    return {};
  }

  Status resolveCall(int index) {
    const Call& call = program_.calls(index);
    ResolvedCall resolved;
    EXO_ASSIGN(resolved.row_count, rowCount(call.rows(), facts_));
    resolved.args.step = &view_;
    EXO_CHECK(call.in_size() <= static_cast<int>(std::size(resolved.args.in)) && call.out_size() <= static_cast<int>(std::size(resolved.args.out)));
    for (int i = 0; i < call.in_size(); ++i) resolved.args.in[i] = operandData(call.in(i));
    for (int i = 0; i < call.out_size(); ++i) resolved.args.out[i] = operandData(call.out(i));
    if (call.has_collective()) {
      EXO_ASSIGN(resolved.collective, collectives_->add(call, resolved.args));
    } else {
      resolved.kernel = &program_.kernels(static_cast<int>(call.kernel()));
      resolved.function = compiled_[call.kernel()].function;
    }
    calls_.push_back(resolved);
    return {};
  }

  // --- every step ---

  void bind(const StepInput& input) {
    view_ = {.tokens = input.numTokens(),
             .sequences = input.numSequences(),
             .positions = input.positions.data(),
             .sequence = input.sequence.data(),
             .page_table = input.page_table.data(),
             .page_table_stride = input.page_table_stride,
             .sequence_begin = input.sequence_begin.data(),
             .split = splitter_.forStep(input),
             .controls = input.controls.rows.empty() ? nullptr : &input.controls,
             .statistics = statistics_.data(),
             .mask_words = codegen::maskWords(limits_.vocab_size)};
    std::fill_n(statistics_.begin(), input.controls.rows.size(), codegen::RowStatistics{});
    for (const InputBuffer& buffer : inputs_) {
      const std::span<const int32_t> array = arrayOf(input, buffer.source);
      if (!array.empty()) std::memcpy(buffer.data, array.data(), array.size_bytes());
    }
    if (input.numTokens() == bound_tokens_ && input.numRows() == bound_rows_ && view_.split.chunks == bound_chunks_) return;
    bound_chunks_ = view_.split.chunks;
    bound_tokens_ = input.numTokens();
    bound_rows_ = input.numRows();
    for (ResolvedCall& call : calls_) {
      const int64_t base = call.row_count.base == program::TOKENS ? bound_tokens_ : call.row_count.base == program::ROWS ? bound_rows_ : 1;
      call.args.rows = base * call.row_count.factor;
    }
    divide();
  }

  int64_t unitsOf(const ResolvedCall& call) const {
    return call.kernel == nullptr || call.args.rows == 0 ? 0 : codegen::workUnits(*call.kernel, call.args.rows, bound_chunks_);
  }

  static int64_t workOf(const ResolvedCall& call) { return call.args.rows * codegen::rowWork(*call.kernel); }

  /// Decides who does what in steps of this size.
  void divide() {
    parts_.clear();
    stretches_.clear();
    for (const Region& region : regions_) {
      const Part whole{&region, 0, region.chains.size()}, lead{&region, 0, 1}, behind{&region, 1, region.chains.size()};
      if (region.led && !isAlone(whole) && isAlone(lead)) {
        add(lead);
        add(behind);
      } else {
        add(whole);
      }
    }
  }

  void add(const Part& part) {
    const bool alone = isAlone(part);
    if (!alone) share(part);
    parts_.push_back(part);
    const int end = static_cast<int>(parts_.size());
    if (alone && !stretches_.empty()) {
      stretches_.back().end = end;
    } else {
      stretches_.push_back({end - 1, end, alone});
    }
  }

  /// Communication, and what is not worth a barrier.
  bool isAlone(const Part& part) const {
    int64_t units = 0, work = 0;
    for (int i = part.first(); i < part.last(); ++i) {
      const ResolvedCall& call = calls_[i];
      if (call.function == nullptr) return true;
      units = std::max(units, unitsOf(call));
      work += workOf(call);
    }
    return pool_->size() == 1 || (units <= 1 && part.chains().size() == 1) || work <= kSmallWork;
  }

  /// A lead is not shared out in advance.
  void share(const Part& part) {
    const int threads = pool_->size();
    const std::span<const Chain> chains = part.chains().subspan(part.led() ? 1 : 0);
    std::vector<ChainWork> works;
    for (const Chain& chain : chains) {
      int64_t work = 0;
      for (int i = chain.first; i < chain.last; ++i) work += workOf(calls_[i]);
      const int64_t units = unitsOf(calls_[chain.first]);
      works.push_back({units, units > 0 ? static_cast<double>(work) / static_cast<double>(units) : 0});
    }
    const std::vector<UnitRange> shares = sharesOf(works, threads);
    for (int thread = 0; thread < threads; ++thread)
      for (size_t c = 0; c < chains.size(); ++c)
        for (int i = chains[c].first; i < chains[c].last; ++i)
          shares_[shareIndex(thread, i)] = shares[static_cast<size_t>(thread) * chains.size() + c];
  }

  size_t shareIndex(int thread, int call) const { return static_cast<size_t>(thread) * calls_.size() + static_cast<size_t>(call); }

  /// Every thread goes through the same stretches; one of them, not always the same, communicates.
  void walk(int thread) {
    for (size_t s = 0; s < stretches_.size(); ++s) {
      const Stretch& stretch = stretches_[s];
      if (!stretch.all_alone) runShare(parts_[stretch.begin], thread);
      pool_->barrier(thread, [&] {
        for (int p = stretch.begin + (stretch.all_alone ? 0 : 1); p < stretch.end && !failed_.load(std::memory_order_relaxed); ++p)
          runAlone(parts_[p], thread);
        prepare(s + 1);
      });
      if (failed_.load(std::memory_order_relaxed)) return;
    }
  }

  /// For the threads that enter this stretch next.
  void prepare(size_t stretch) {
    if (stretch >= stretches_.size() || stretches_[stretch].all_alone) return;
    const Part& part = parts_[stretches_[stretch].begin];
    if (part.led()) lead_rows_->begin(calls_[part.first()].args.rows);
  }

  /// Writes down what its thread does during its lifetime, when that is asked for.
  class Stopwatch {
   public:
    Stopwatch(Implementation* engine, int thread, int call) : engine_(engine->profiling_ == Profiling::kOn ? engine : nullptr) {
      if (engine_ != nullptr) event_ = {.step = engine->profiled_steps_, .call = call, .rows = static_cast<int32_t>(engine->calls_[call].args.rows), .thread = static_cast<int16_t>(thread), .begin_ns = nanoseconds(Clock::now())};
    }
    ~Stopwatch() {
      if (engine_ == nullptr) return;
      event_.end_ns = nanoseconds(Clock::now());
      add(event_);
      const int collective = engine_->calls_[event_.call].collective;
      if (collective < 0) return;
      for (const collectives::Arrival& arrival : engine_->collectives_->arrivals(collective)) {
        event_.peer = static_cast<int16_t>(arrival.peer);
        event_.end_ns = std::max(event_.begin_ns, nanoseconds(arrival.at));
        add(event_);
      }
    }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

   private:
    static int64_t nanoseconds(Clock::time_point at) { return std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count(); }
    void add(const ProfileEvent& event) {
      std::vector<ProfileEvent>& events = engine_->events_[event.thread];
      if (events.size() < Engine::kMaxProfileEvents) events.push_back(event);
    }
    Implementation* engine_;
    ProfileEvent event_;
  };

  void* scratchOf(int thread) const { return scratch_.data() + scratch_stride_ * static_cast<uint64_t>(thread); }

  void runShare(const Part& part, int thread) {
    if (part.led()) return runLed(part, thread);
    for (const Chain& chain : part.chains()) runCalls(chain.first, chain.last, thread);
  }

  /// The thread's units of calls [first, last).
  void runCalls(int first, int last, int thread) {
    for (int i = first; i < last; ++i) {
      const UnitRange share = shares_[shareIndex(thread, i)];
      if (share.begin == share.end) continue;
      const Stopwatch watch(this, thread, i);
      calls_[i].function(&calls_[i].args, share.begin, share.end, scratchOf(thread));
    }
  }

  /// Block by block of the lead's rows: helps to make them, then multiplies them; what else is behind the lead, in the end.
  void runLed(const Part& part, int thread) {
    const Chain lead = part.chains()[0];
    const std::span<const Chain> behind = part.chains().subspan(1);
    const int64_t blocks = lead_rows_->numBlocks();
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t block = (lead_rows_->firstBlock(thread) + b) % blocks;
      lead_rows_->finish(block, [&](int64_t begin, int64_t end) { makeRows(lead, {begin, end}, thread); });
      for (const Chain& chain : behind)
        for (int i = chain.first; i < chain.first + chain.streaming; ++i) multiplyRows(i, lead_rows_->rowsOf(block), thread);
    }
    for (const Chain& chain : behind) runCalls(chain.first + chain.streaming, chain.last, thread);
  }

  void makeRows(const Chain& lead, UnitRange rows, int thread) {
    for (int i = lead.first; i < lead.last; ++i) {
      const Stopwatch watch(this, thread, i);
      calls_[i].function(&calls_[i].args, rows.begin, rows.end, scratchOf(thread));
    }
  }

  /// The thread's columns of a MATMUL, of these rows only.
  void multiplyRows(int index, UnitRange rows, int thread) {
    const UnitRange share = shares_[shareIndex(thread, index)];
    if (share.begin == share.end) return;
    const Stopwatch watch(this, thread, index);
    const program::Kernel& kernel = *calls_[index].kernel;
    codegen::KernelArgs args = calls_[index].args;
    args.rows = rows.end - rows.begin;
    args.in[0] = static_cast<const std::byte*>(args.in[0]) + rows.begin * rowBytes(kernel.input(), static_cast<int64_t>(kernel.k()));
    args.out[0] = static_cast<std::byte*>(args.out[0]) + rows.begin * rowBytes(program::F32, static_cast<int64_t>(kernel.n()));
    calls_[index].function(&args, share.begin, share.end, scratchOf(thread));
  }

  /// Calls of no rows (no logits asked for) do nothing, on every rank alike.
  void runAlone(const Part& part, int thread) {
    for (int i = part.first(); i < part.last(); ++i) {
      const ResolvedCall& call = calls_[i];
      if (call.args.rows == 0) continue;
      const Stopwatch watch(this, thread, i);
      if (call.function != nullptr) {
        call.function(&call.args, 0, unitsOf(call), scratchOf(thread));
      } else {
        runCollective(call, i);
      }
    }
  }

  void runCollective(const ResolvedCall& call, int index) {
    const Clock::time_point begin = Clock::now();
    Status status = collectives_->run(call.collective, call.args.rows);
    collectives_->addWaits(call.collective, begin, peer_waits_);
    if (status.ok()) return;
    failure_ = std::move(status).error().note("in call \"" + program_.calls(index).name() + "\" on rank " + std::to_string(program_.rank()));
    failed_.store(true, std::memory_order_relaxed);   // seen by the others behind the call's barrier
  }

  StepOutput outputs(const StepInput& input) const {
    const int64_t rows = input.numRows();
    StepOutput output{.rows = rows};
    if (input.wantsStatistics()) output.statistics = std::span(statistics_).first(static_cast<size_t>(rows));
    if (program_.has_output_values()) {
      output.candidates = static_cast<int64_t>(program_.buffers(static_cast<int>(program_.output_values())).columns());
      const size_t count = static_cast<size_t>(rows * output.candidates);
      output.values = {reinterpret_cast<const float*>(bufferData(program_.output_values())), count};
      output.ids = {reinterpret_cast<const int32_t*>(bufferData(program_.output_ids())), count};
    }
    if (program_.has_logits()) {
      output.logits_columns = static_cast<int64_t>(program_.buffers(static_cast<int>(program_.logits())).columns());
      output.logits = {reinterpret_cast<const float*>(bufferData(program_.logits())), static_cast<size_t>(rows * output.logits_columns)};
    }
    return output;
  }

  ProgramFacts facts_;
  std::unique_ptr<codegen::Jit> jit_;
  std::vector<codegen::CompiledKernel> compiled_;   // parallel to the program's kernels
  Memory arena_, caches_, scratch_;
  uint64_t scratch_stride_ = 0;
  LoadedWeights weights_;
  std::vector<std::byte*> cache_data_;              // parallel to the program's caches
  std::unique_ptr<CollectiveCalls> collectives_;
  std::vector<ResolvedCall> calls_;                 // parallel to the program's calls
  std::vector<Region> regions_;
  std::vector<Part> parts_;                         // of steps of the bound size
  std::vector<Stretch> stretches_;                  // of them
  std::unique_ptr<LeadRows> lead_rows_;             // of the one region that is run
  std::vector<UnitRange> shares_;                   // [thread, call]
  Profiling profiling_ = Profiling::kOff;
  int32_t profiled_steps_ = 0;
  std::vector<std::vector<ProfileEvent>> events_;   // by thread
  std::vector<InputBuffer> inputs_;
  codegen::StepView view_;
  std::vector<double> peer_waits_;                  // [world_size] seconds
  std::vector<codegen::RowStatistics> statistics_;  // [max_rows] of the last step
  AttentionSplitter splitter_;
  int64_t bound_tokens_ = -1, bound_rows_ = -1, bound_chunks_ = -1;  // that the calls' rows and units are for
  std::atomic<bool> failed_{false};
  std::optional<Error> failure_;                    // of this step; written by the thread that communicates
  std::optional<Error> broken_;                     // the first failure: peers are out of step from then on
};

Engine::Engine(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::create(Program program, const EngineOptions& options, const WeightReader& weights,
                                               transport::Mesh* mesh) {
  auto implementation = std::make_unique<Implementation>(std::move(program));
  EXO_TRY(implementation->prepare(options, weights, mesh));
  return std::unique_ptr<Engine>(new Engine(std::move(implementation)));
}

Status Engine::step(const StepInput& input, StepOutput* output) { return implementation_->step(input, output); }
const Program& Engine::program() const { return implementation_->program_; }
const StepLimits& Engine::limits() const { return implementation_->limits_; }
codegen::Isa Engine::isa() const { return implementation_->isa_; }
int Engine::threads() const { return implementation_->pool_->size(); }
std::span<const double> Engine::peerWaits() const { return implementation_->peerWaits(); }
EngineMemory Engine::memory() const { return implementation_->memory(); }
void Engine::setProfiling(Profiling profiling) { implementation_->setProfiling(profiling); }
std::vector<ProfileEvent> Engine::profile() const { return implementation_->profile(); }

}  // namespace exo::runtime
