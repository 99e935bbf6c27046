// Fuzzing entry: bytes → parser → print and reparse → every pass. One file for libFuzzer and for ir_fuzz_test.cc.
// Properties: nothing crashes or hangs; what parses prints and reparses equal; passes refuse or give what verifies.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ir/text.h"
#include "passes/pass.h"

using namespace exo;

namespace {

void checkRoundTrip(const Module& module) {
  const std::string text = print(module);
  auto again = parseModule(text);
  EXO_CHECK(again.ok()) << again.error() << "\n" << text;
  EXO_CHECK(*again == module) << text;
  EXO_CHECK(print(*again) == text) << text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto module = parseModule(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!module.ok()) return 0;
  checkRoundTrip(*module);
  // Ranks multiply the work; the bound is for the fuzzer's speed, the parser's own is 1024.
  for (const Graph& graph : module->graphs) {
    if (graph.mesh.numRanks() > 16) return 0;
  }
  PassOptions options;
  Notes notes;
  for (const Pass& pass : allPasses()) {  // each by itself
    const Pass* const one[] = {&pass};
    (void)runPasses(*module, one, options, notes);
  }
  std::vector<const Pass*> all;
  for (const Pass& pass : allPasses()) all.push_back(&pass);
  (void)runPasses(*module, all, options, notes, [](size_t, const Pass&, const Module& result) -> Status {
    checkRoundTrip(result);
    return {};
  });
  return 0;
}
