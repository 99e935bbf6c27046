// What a compiled kernel is to the executor: a function over work units, how many units there are, and what they need.
// The emitters behind it live in emit_*.cc; the operand order of each op is documented in codegen/kernels.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codegen/program.pb.h"
#include "ir/base/result.h"

namespace exo::codegen {

struct RowControls;    // logits.h
struct RowStatistics;

/// Positions whose attention is summed together: a multiple of a page. Part of the arithmetic, not of the schedule.
constexpr int64_t kAttentionChunk = 512;

/// Rows that MATMUL takes together. Cutting a call behind a multiple of them changes neither its bits nor, but for the call
/// itself, its time; all rows that begin a block are 64-byte aligned.
constexpr int64_t kRowBlock = 96;

/// ATTENTION over chunks of positions: for steps of few rows and long contexts. See kernels.md.
struct AttentionSplit {
  int64_t chunks = 0;                     // 0: not split; else those of the step's longest row
  void* partials = nullptr;               // attentionPartialsBytes(), shared by all threads, 64-byte aligned
  int32_t* arrived = nullptr;             // [attentionGroups() * rows]; zero before and after a call
};

/// What the step gives to kernels that look beyond their operands. Arrays are caller-owned and outlive the call.
struct StepView {
  int64_t tokens = 0;                     // T
  int64_t sequences = 0;                  // S
  const int32_t* positions = nullptr;     // [T] position of each token in its sequence
  const int32_t* sequence = nullptr;      // [T] index of its sequence; tokens of a sequence are adjacent and ascending
  const int32_t* page_table = nullptr;    // [S, page_table_stride] page numbers of each sequence, in order
  int64_t page_table_stride = 0;
  const int32_t* sequence_begin = nullptr;  // [S + 1] first token of each sequence in this step
  AttentionSplit split;
  const RowControls* controls = nullptr;  // TOP_K: of the step's rows; null: takes them as they are
  RowStatistics* statistics = nullptr;    // [R] written by TOP_K for rows that want them
  int64_t mask_words = 0;                 // of one mask of the controls
};

/// Operands of one call, in the order of kernels.md. All pointers are 64-byte aligned.
struct KernelArgs {
  int64_t rows = 0;                       // M of this call
  const void* in[8] = {};
  void* out[4] = {};
  const StepView* step = nullptr;
};

/// Computes work units [begin, end) of one call. Units are independent; any division over threads gives the same bits.
using KernelFn = void (*)(const KernelArgs* args, int64_t begin, int64_t end, void* scratch);

struct CompiledKernel {
  KernelFn function = nullptr;
  size_t scratch_bytes = 0;               // per thread, 64-byte aligned
};

/// Number of work units of a call with `rows` rows (T, R, ... as the call says); `attention_chunks` is StepView::split.chunks.
int64_t workUnits(const program::Kernel& kernel, int64_t rows, int64_t attention_chunks = 0);

/// Groups of query heads that ATTENTION takes one by one for each row: KV heads, or of a latent cache kLatentHeads heads each.
int64_t attentionGroups(const program::Kernel& kernel);
constexpr int64_t kLatentHeads = 16;

/// Bytes of AttentionSplit::partials for ATTENTION over `rows` rows in `chunks` chunks.
int64_t attentionPartialsBytes(const program::Kernel& kernel, int64_t rows, int64_t chunks);

/// What a kernel's grain must be a multiple of (a panel, a head, a block); 0: the op is not divided by columns.
int64_t columnUnit(const program::Kernel& kernel);

/// Columns that the units of a kernel with a grain divide.
int64_t dividedColumns(const program::Kernel& kernel);

/// What the kernel does with one row, in about multiplications of f32: for comparing calls. Attention, whose work grows
/// with the context, counts as much.
int64_t rowWork(const program::Kernel& kernel);

/// Instruction sets from best to plainest. kAuto takes the best the host has.
enum class Isa { kAuto, kAmx, kAvx512Vnni, kAvxVnni, kAvx2, kNeonI8mm, kNeonDotprod, kGeneric };
/// All but kAuto, best first.
std::span<const Isa> allIsas();
const char* name(Isa isa);
Result<Isa> parseIsa(const std::string& text);
/// The best the host has; never kAuto.
Isa hostIsa();
/// Error kUnsupported, naming the best it has, if this machine cannot run code for `isa`.
Status checkHost(Isa isa);

/// A compiled unit: ELF that defines the function `symbol`.
struct Object {
  std::string symbol;
  std::string bytes;
};
/// The kernel's object, then those of what it calls (host kernels excepted), for `isa`, which this machine need not have: AArch64
/// on x86 and the reverse. kGeneric is this machine's architecture. cache_dir as in JitOptions.
Result<std::vector<Object>> emitObjects(const program::Kernel& kernel, Isa isa, const std::string& cache_dir = {});

struct JitOptions {
  Isa isa = Isa::kAuto;
  std::string cache_dir;                  // compiled objects; empty: none
};

/// Owns the machine code. Thread-safe after creation; functions live as long as the Jit.
class Jit {
 public:
  static Result<std::unique_ptr<Jit>> create(const JitOptions& options);
  virtual ~Jit() = default;
  /// Compiles (or loads from the object cache) every kernel; the result is parallel to `kernels`.
  virtual Result<std::vector<CompiledKernel>> compile(std::span<const program::Kernel* const> kernels) = 0;
  virtual Isa isa() const = 0;
};

}  // namespace exo::codegen
