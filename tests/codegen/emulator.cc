#include "emulator.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <new>
#include <sstream>

#include "emulated_memory.h"
#include "ir/base/result.h"

namespace exo::codegen::emulator {
namespace {

constexpr int kReplyTimeoutMs = 120'000;

/// The memory that both processes map, a stack of allocations.
class Arena {
 public:
  Arena() {
    file_ = memfd_create("kernel buffers", 0);
    if (file_ < 0 || ftruncate(file_, kSharedBytes) != 0) return;
    void* place = mmap(reinterpret_cast<void*>(kSharedAddress), kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file_, 0);
    if (place != MAP_FAILED) base_ = static_cast<std::byte*>(place);
  }
  bool mapped() const { return base_ != nullptr; }
  int file() const { return file_; }
  bool contains(const std::byte* data) const { return base_ && data >= base_ && data < base_ + kSharedBytes; }
  std::byte* allocate(size_t bytes) {
    const size_t rounded = (bytes + 63) / 64 * 64;
    EXO_CHECK(used_ + rounded <= kSharedBytes) << "a test needs more than the shared " << kSharedBytes << " bytes";
    std::byte* data = base_ + used_;
    used_ += rounded;
    ++live_;
    return data;
  }
  void release() {
    if (--live_ == 0) used_ = 0;
  }

 private:
  int file_ = -1;
  std::byte* base_ = nullptr;
  size_t used_ = 0;
  int live_ = 0;
};

Arena& arena() {
  static Arena arena;
  return arena;
}

/// A directory of this process that goes with it.
class Directory {
 public:
  Directory() {
    char name[] = "/tmp/exo_emulator_XXXXXX";
    EXO_CHECK(mkdtemp(name)) << std::strerror(errno);
    path_ = name;
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The emulated process: a line in, a line out.
class Process {
 public:
  Process() {
    int in[2], out[2];
    EXO_CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0) << std::strerror(errno);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, arena().file(), kSharedFile);
    const char* arguments[] = {EXO_QEMU, "-cpu", "max", "-L", EXO_AARCH64_ROOT, EXO_EMULATED_RUNNER, nullptr};
    const int failed = posix_spawn(&pid_, EXO_QEMU, &actions, nullptr, const_cast<char**>(arguments), environ);
    EXO_CHECK(failed == 0) << EXO_QEMU << ": " << std::strerror(failed);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    to_ = in[1];
    from_ = out[0];
  }
  ~Process() {
    close(to_);
    close(from_);
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::string ask(const std::string& line) {
    EXO_CHECK(write(to_, line.data(), line.size()) == static_cast<ssize_t>(line.size())) << "the emulated process is gone";
    std::string reply;
    for (char c = 0; c != '\n';) {
      pollfd waiting{from_, POLLIN, 0};
      EXO_CHECK(poll(&waiting, 1, kReplyTimeoutMs) == 1) << "no reply from the emulated process within " << kReplyTimeoutMs << " ms";
      EXO_CHECK(read(from_, &c, 1) == 1) << "the emulated process ended at: " << line;
      if (c != '\n') reply += c;
    }
    return reply;
  }

 private:
  pid_t pid_ = 0;
  int to_ = -1, from_ = -1;
};

struct Library {
  std::string path, symbol;
};

/// Objects linked to a library, once per kernel and instruction set.
const Library& libraryOf(const program::Kernel& kernel, Isa isa) {
  static const Directory directory;
  static std::map<std::pair<std::string, Isa>, Library> libraries;
  Library& library = libraries[{kernel.SerializeAsString(), isa}];
  if (!library.path.empty()) return library;
  library.path = directory.path() + "/" + std::to_string(libraries.size()) + ".so";
  auto objects = emitObjects(kernel, isa, directory.path());
  EXO_CHECK(objects.ok()) << objects.error();
  std::string command = std::string(EXO_AARCH64_LD) + " -shared -o " + library.path;
  for (size_t i = 0; i < objects->size(); ++i) {
    const std::string object = library.path + "." + std::to_string(i) + ".o";
    std::ofstream(object, std::ios::binary) << (*objects)[i].bytes;
    command += " " + object;
  }
  EXO_CHECK(std::system(command.c_str()) == 0) << command;
  library.symbol = objects->front().symbol;
  return library;
}

/// A copy in shared memory for as long as it lives.
class Shared {
 public:
  Shared(const void* from, size_t bytes) : data_(from ? allocate(bytes) : nullptr) {
    if (from) std::memcpy(data_, from, bytes);
  }
  ~Shared() {
    if (data_) release(data_);
  }
  Shared(const Shared&) = delete;
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_;
};

}  // namespace

std::string unavailable() {
  if (!*EXO_EMULATED_RUNNER) return "no qemu-user-static or AArch64 cross compiler was found when this was configured";
  if (!arena().mapped()) return "this process cannot map memory where the emulated one will";
  return "";
}

bool emulates(Isa isa) { return (isa == Isa::kNeonDotprod || isa == Isa::kNeonI8mm) && unavailable().empty(); }

std::byte* allocate(size_t bytes) {
  if (unavailable().empty()) return arena().allocate(bytes);
  return static_cast<std::byte*>(::operator new(bytes, std::align_val_t{64}));
}

void release(std::byte* data) {
  if (arena().contains(data)) return arena().release();
  ::operator delete(data, std::align_val_t{64});
}

void run(const program::Kernel& kernel, Isa isa, const KernelArgs& args, int64_t begin, int64_t end, void* scratch) {
  static Process process;
  const StepView none;
  const StepView& step = args.step ? *args.step : none;
  const Shared positions(step.positions, step.tokens * 4), sequence(step.sequence, step.tokens * 4),
      pages(step.page_table, step.sequences * step.page_table_stride * 4), begins(step.sequence_begin, (step.sequences + 1) * 4);
  StepView step_there = step;
  step_there.positions = positions.as<int32_t>();
  step_there.sequence = sequence.as<int32_t>();
  step_there.page_table = pages.as<int32_t>();
  step_there.sequence_begin = begins.as<int32_t>();
  const Shared shared_step(&step_there, sizeof step_there);
  KernelArgs args_there = args;
  args_there.step = shared_step.as<StepView>();
  const Shared shared_args(&args_there, sizeof args_there);
  const Library& library = libraryOf(kernel, isa);
  std::ostringstream line;
  line << library.path << " " << library.symbol << " " << reinterpret_cast<uintptr_t>(shared_args.as<void>()) << " " << begin << " "
       << end << " " << reinterpret_cast<uintptr_t>(scratch) << "\n";
  const std::string reply = process.ask(line.str());
  EXO_CHECK(reply == "done") << "emulated " << program::Kernel::Op_Name(kernel.op()) << ": " << reply;
}

}  // namespace exo::codegen::emulator
