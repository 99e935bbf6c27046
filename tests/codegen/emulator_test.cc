// Instruction sets that this machine lacks: what is emitted for them, and that they are tested at all.
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Kernel;

TEST(Emulator, RunsWhatTheHostCannot) {
  if (const std::string why = emulator::unavailable(); !why.empty()) GTEST_SKIP() << "AArch64's kernels are NOT tested: " << why;
  const std::vector<Isa> tested = testedIsas();
  for (Isa isa : {Isa::kNeonDotprod, Isa::kNeonI8mm}) EXPECT_NE(std::find(tested.begin(), tested.end(), isa), tested.end()) << name(isa);
}

/// Machine of an ELF header: 62 is x86-64, 183 AArch64.
int elfMachine(const std::string& object) { return static_cast<unsigned char>(object[18]) + 256 * static_cast<unsigned char>(object[19]); }

TEST(Emulator, ObjectsForEveryInstructionSet) {
  Kernel kernel;
  kernel.set_op(Kernel::MATMUL);
  kernel.set_weight(program::Q8);
  kernel.set_input(program::X8);
  kernel.set_n(64);
  kernel.set_k(64);
  for (Isa isa : allIsas()) {
    auto objects = emitObjects(kernel, isa);
    ASSERT_TRUE(objects.ok()) << name(isa) << ": " << objects.error();
    ASSERT_EQ(objects->size(), 2u) << name(isa);
    if (isa == Isa::kGeneric) continue;  // this machine's architecture, whichever it is
    const bool arm = isa == Isa::kNeonDotprod || isa == Isa::kNeonI8mm;
    for (const Object& object : *objects) EXPECT_EQ(elfMachine(object.bytes), arm ? 183 : 62) << name(isa) << " " << object.symbol;
  }
}

}  // namespace
}  // namespace exo::codegen
