// The emulated side of emulator.h, built for the other architecture. Each line of the input names a call of a kernel:
// library, symbol, arguments, first unit, end of units, scratch. Answers "done" or what went wrong. Ends with its input.
#include <dlfcn.h>
#include <sys/mman.h>

#include <cstdio>

#include "emulated_memory.h"

int main() {
  void* const place = reinterpret_cast<void*>(kSharedAddress);
  const bool mapped = mmap(place, kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, kSharedFile, 0) == place;
  using Kernel = void (*)(const void* args, int64_t begin, int64_t end, void* scratch);
  static char library[4096], symbol[16384];
  unsigned long args, scratch;
  long begin, end;
  while (std::scanf("%4095s %16383s %lu %ld %ld %lu", library, symbol, &args, &begin, &end, &scratch) == 6) {
    void* const handle = dlopen(library, RTLD_NOW);
    const auto kernel = handle ? reinterpret_cast<Kernel>(dlsym(handle, symbol)) : nullptr;
    if (mapped && kernel) kernel(reinterpret_cast<const void*>(args), begin, end, reinterpret_cast<void*>(scratch));
    std::printf("%s\n", !mapped ? "the shared memory cannot be mapped" : kernel ? "done" : dlerror());
    std::fflush(stdout);
  }
}
