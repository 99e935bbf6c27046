// Verbs for real: in virtual machines with Soft-RoCE (guests.sh). Where those cannot run, the tests are skipped and say why.
// The device is emulated on an emulated processor: right or wrong shows, speed does not.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

constexpr int kSkipped = 77;  // as guests.sh
const fs::path kSources = EXO_TEST_VM;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Kept with other caches of the user, so that a fresh build does not download the kernel again.
std::string kernelCache() {
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", "/exo/vm"}, std::pair{"HOME", "/.cache/exo/vm"}}) {
    const char* base = std::getenv(variable);
    std::error_code error;
    if (base != nullptr && *base == '/' && (fs::create_directories(base + std::string(below), error), !error)) return base + std::string(below);
  }
  return EXO_TEST_VM_CACHE;
}

Outcome inGuests(int guests, const fs::path& out, const std::string& command) {
  Program program({kSources / "guests.sh", "-n", std::to_string(guests), "-t", "260", "-o", out, "-c", kernelCache(), "--", command});
  const Outcome outcome = program.wait(285s);
  std::cout << outcome.out << outcome.err << std::flush;
  return outcome;
}

#define EXO_SKIP_WITHOUT_GUESTS(outcome) \
  if ((outcome).exit_code == kSkipped) GTEST_SKIP() << (outcome).err

TEST(OneGuest, LinksAndCollectivesOverVerbs) {
  const Folder out;
  // What is measured in processor time is left out. A test that finds no device skips itself: that would be a failure here.
  const std::string transport = EXO_TEST_TRANSPORT " --gtest_filter='Queues.*:Reading.*:LyingVerbsPeer.*:RemovedDevice.*:*/verbs:Mesh.Auto*:Mesh.ARankTold*:Mesh.ADevice*:Mesh.AWrongKey*:Mesh.LeavesNothing*'";
  const std::string collectives = EXO_TEST_COLLECTIVES " --gtest_filter='*/verbs*'";
  const std::string processes = EXO_TEST_PROCESSES " --gtest_filter='*/verbs:-*AnIdleRankSleeps*'";
  const std::string weights = EXO_TEST_WEIGHTS " --gtest_filter='*/verbs'";
  const Outcome outcome = inGuests(1, out.path(), transport + " && " + weights + " && " + collectives + " && " + processes);
  EXO_SKIP_WITHOUT_GUESTS(outcome);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_FALSE(contains(outcome.out, "SKIPPED"));
  for (const char* test : {"Wires/Link.ManyMessagesOfAnySizeBothWaysAtOnce/verbs", "Worlds/Collective.AllReduceHasTheBitsOfRankOrderByAnyAlgorithm/verbs3",
                           "RemovedDevice.EndsItsLinksAtOnceWithThePeersName", "Wires/PeerWeights.AreThoseOfTheGiver/verbs",
                           "Wires/RealProcesses.AKilledPeerIsNoticedWithinTwoSeconds/verbs", "Queues.APeerThatIsGoneIsGivenUp", "Reading.AnyRangeOfWhatThePeerOffers"}) {
    EXPECT_TRUE(contains(outcome.out, std::string("       OK ] ") + test)) << test;
  }
}

// Two nodes, each in a guest of its own.
constexpr const char* kTopology = R"({"nodes": [{"name": "n0", "address": "10.77.0.1:52416"}, {"name": "n1", "address": "10.77.0.2:52416"}]})";

TEST(TwoGuests, AGoldenModelOverVerbsThenOneLosesItsPower) {
  const Folder folder;
  const fs::path golden = fs::path(EXO_TEST_DATA) / "golden" / "llama", plan = folder / "plan", secret = folder / "secret", out = folder / "out";
  fs::create_directory(out);
  writeFile(folder / "topo.json", kTopology);
  writeFile(secret, "a secret of these tests only\n");
  fs::permissions(secret, fs::perms::owner_read);
  const Outcome compiled = exoc({"compile", golden, "--nodes", folder / "topo.json", "--strategy", "tp", "--quant", "f32", "--out", plan});
  ASSERT_EQ(compiled.exit_code, 0) << describe(compiled);

  const json prompt = json::parse(readFile(golden / "expected.json")).at("prompts").at(1);
  const std::vector<int64_t> ids = prompt.at("input_ids");
  std::string tokens;
  for (int64_t id : ids) tokens += (tokens.empty() ? "" : ",") + std::to_string(id);
  const std::string command = "bash " + (kSources / "two_nodes.sh").string() + " " EXO_TEST_EXECUTOR " " EXO_TEST_COMPILER " " + plan.string() + " " + secret.string() + " " + tokens;
  const Outcome outcome = inGuests(2, out, command);
  EXO_SKIP_WITHOUT_GUESTS(outcome);
  ASSERT_EQ(outcome.exit_code, 0);

  // The answer is that of one node, and of the independent implementation.
  const RunResult one = runModel({golden, {1, "auto"}, ids});
  const Logits logits = readLogits(out / "logits", "logits");
  EXPECT_EQ(json::parse(readFile(out / "tokens")).at("tokens").get<std::vector<int64_t>>(), prompt.at("greedy").get<std::vector<int64_t>>());
  EXPECT_EQ(one.tokens, prompt.at("greedy").get<std::vector<int64_t>>());
  expectNear(logits, one.logits, 1e-4);
  expectNear(logits, readLogits(golden / "expected.safetensors", "prompt_1.logits"), 1e-3);

  // It came over verbs; and the loss of the other guest ended both in order, naming it.
  const std::string log = readFile(out / "node.log");
  EXPECT_TRUE(contains(log, "link to node n1: verbs (rxe0 port 1, RoCE v2 10.77.0.1, MTU 4096)")) << log;
  EXPECT_EQ(readFile(out / "node.status"), "1\n") << log;
  EXPECT_TRUE(contains(log, "peer lost")) << log;
  EXPECT_TRUE(contains(log, "rank 1 (n1)") || contains(log, "node \"n1\" (rank 1)")) << log;
  EXPECT_EQ(readFile(out / "run.status"), "1\n") << readFile(out / "run.log");
  std::cout << log << readFile(out / "run.log") << std::flush;
}

}  // namespace
}  // namespace exo::testing
