// Nodes that die, stall, never come or come with another plan; parents that die. Every end is quick and names its cause,
// and nothing is left: no process, no temporary directory, no shared memory.
#include <gtest/gtest.h>
#include <signal.h>

#include <set>
#include <thread>

#include "tests/end_to_end/program.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Six KV-head groups and made-up weights; a generation of many seconds.
constexpr const char* kConfig = R"({"model_type": "llama", "hidden_size": 192, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 3,
  "head_dim": 32, "vocab_size": 512, "hidden_act": "silu", "max_position_embeddings": 65536, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "float32"})";

/// Ours in /dev/shm, which must not be there: links are memory without a name.
std::set<std::string> sharedMemory() {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/dev/shm", error)) {
    if (contains(entry.path().filename(), "exo")) names.insert(entry.path().filename());
  }
  return names;
}

class Faults : public ::testing::Test {
 protected:
  void SetUp() override {
    writeFile(folder_ / "config.json", kConfig);
    // A tokenizer, so that text appears while tokens do.
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) fs::copy_file(fs::path(EXO_TEST_DATA) / "golden" / "llama" / file, folder_ / file);
  }
  void TearDown() override { EXPECT_EQ(sharedMemory(), shared_before_); }

  Words longRun() const {
    return exocWords({"run", folder_.path(), "--nodes", "3", "--strategy", "tp", "--random_weights", "7", "--max_context", "60000", "--tokens", "1,2,3", "--ignore_eos", "--max_tokens", "50000"});
  }
  /// Until text flows.
  static void waitUntilGenerating(Program& run) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (run.out().size() < 200 && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(20ms);
    ASSERT_GE(run.out().size(), 200u) << run.err();
  }
  static void expectNothingLeft(const Program& run, std::chrono::milliseconds within) {
    EXPECT_TRUE(run.waitUntilAlone(within)) << run.children().size() << " processes left, the first: " << (run.children().empty() ? "" : run.children()[0].command_line);
    EXPECT_EQ(run.leftovers(), Words{});
  }
  /// A signal to one node in mid-generation; the end of all that follows.
  Outcome signalNode(Program& run, const std::string& node, int signal, std::chrono::milliseconds within) {
    waitUntilGenerating(run);
    const pid_t pid = run.node(node);
    EXPECT_GT(pid, 0);
    if (pid <= 0) return {};
    ::kill(pid, signal);
    const Outcome outcome = run.waitFromNow(within);
    EXPECT_EQ(outcome.exit_code, 1) << describe(outcome);
    return outcome;
  }

  Folder folder_;
  std::set<std::string> shared_before_ = sharedMemory();
};

TEST_F(Faults, AKilledNodeEndsTheRunAndIsNamedWithWhatItDid) {
  Program run(longRun());
  const Outcome outcome = signalNode(run, "n1", SIGKILL, 8s);
  EXPECT_TRUE(contains(outcome.err, "exoc: peer lost: ")) << outcome.err;
  // Either the link tells first, or the membership does; the operation that it ended is named both times.
  EXPECT_TRUE(contains(outcome.err, "rank 1 (n1) closed the link or died") || contains(outcome.err, "lost node \"n1\" (rank 1) while serving")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "in call \"")) << outcome.err;
  expectNothingLeft(run, 1s);
}

TEST_F(Faults, AKilledFirstNodeEndsTheRunAndIsNamed) {
  Program run(longRun());
  const Outcome outcome = signalNode(run, "n0", SIGKILL, 8s);
  EXPECT_TRUE(contains(outcome.err, "\"n0\"") || contains(outcome.err, "node n0")) << outcome.err;
  expectNothingLeft(run, 1s);
}

TEST_F(Faults, AStalledNodeIsNamedWithinThePeerTimeout) {
  Program run(longRun());
  const Outcome outcome = signalNode(run, "n2", SIGSTOP, 20s);  // peer timeout 5 s, then an orderly end with a node that answers nothing
  EXPECT_TRUE(contains(outcome.err, "lost node \"n2\" (rank 2) while serving")) << outcome.err;
  expectNothingLeft(run, 1s);
}

TEST_F(Faults, AKilledParentTakesAllNodesWithIt) {
  Program run(longRun());
  waitUntilGenerating(run);
  ASSERT_EQ(run.children().size(), 3u);
  ::kill(run.pid(), SIGKILL);
  EXPECT_EQ(run.waitFromNow(5s).exit_code, 128 + SIGKILL);
  expectNothingLeft(run, 2s);
}

TEST_F(Faults, AnInterruptEndsAllNodesInOrder) {
  for (int signal : {SIGINT, SIGTERM}) {
    Program run(longRun());
    waitUntilGenerating(run);
    ::kill(run.pid(), signal);
    const Outcome outcome = run.waitFromNow(10s);
    EXPECT_TRUE(outcome.exit_code == 1 || outcome.exit_code == 130) << describe(outcome);
    expectNothingLeft(run, 1s);
  }
}

TEST_F(Faults, AnInterruptWhileStartingEndsAllNodes) {
  Program run(longRun());
  while (run.children().empty()) ASSERT_TRUE(run.running()) << run.err();
  ::kill(run.pid(), SIGINT);
  const Outcome outcome = run.waitFromNow(15s);
  EXPECT_TRUE(outcome.exit_code == 1 || outcome.exit_code == 130) << describe(outcome);
  expectNothingLeft(run, 1s);
}

TEST_F(Faults, AnExecutorThatIsNotThereIsNamed) {
  Words words = longRun();
  words.insert(words.begin(), {"/usr/bin/env", "EXO_EXEC=/nowhere/exo-exec"});
  Program run(words);
  const Outcome outcome = run.wait(20s);
  EXPECT_EQ(outcome.exit_code, 2) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "cannot run /nowhere/exo-exec")) << outcome.err;
  expectNothingLeft(run, 1s);
}

TEST_F(Faults, AFullDiskOrClosedOutputIsAnError) {
  const Outcome outcome = Program({"/bin/sh", "-c", "exec \"$0\" run \"$1\" --random_weights 7 --max_context 64 --tokens 1,2,3 --max_tokens 4 >/dev/full", exocWords({})[0], folder_.path()}).wait(20s);
  EXPECT_EQ(outcome.exit_code, 1) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "cannot write to standard output")) << outcome.err;
}

/// Nodes started by hand, as over several machines.
class ByHand : public Faults {
 protected:
  void compile(const std::string& out, const Words& more) {
    Words words = {"compile", folder_ / "config.json", "--nodes", "2", "--strategy", "tp", "--random_weights", "7", "--max_context", "256", "--out", folder_ / out};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = exoc(words);
    ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
  }
  Words node(const std::string& plan, const std::string& name, const Words& more) const {
    Words words = executorWords({"--plan=" + (folder_ / plan).string(), "--node=" + name, "--listen=127.0.0.1:0", "--threads=1"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  /// Where a node listens, from its log.
  static std::string addressOf(Program& node) {
    const std::string before = "listening at ";
    EXPECT_TRUE(node.waitForOutput(before, 20s)) << node.err();
    const std::string log = node.err();
    const size_t at = log.find(before) + before.size();
    return log.substr(at, log.find('\n', at) - at);
  }
};

TEST_F(ByHand, AMissingNodeIsNamedWhenTheTimeToJoinIsOver) {
  compile("plan", {});
  const Outcome outcome = Program(node("plan", "n0", {"--join_timeout=1"})).wait(15s);
  EXPECT_EQ(outcome.exit_code, 1) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "n1")) << outcome.err;
}

TEST_F(ByHand, ANodeWithoutItsCoordinatorSaysWhereItLooked) {
  compile("plan", {});
  const Outcome outcome = Program(node("plan", "n1", {"--join_timeout=1", "--coordinator=127.0.0.1:1"})).wait(15s);
  EXPECT_EQ(outcome.exit_code, 1) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "127.0.0.1:1")) << outcome.err;
}

TEST_F(ByHand, ANodeWithAnotherPlanIsRefusedByName) {
  compile("plan", {});
  compile("other", {"--max_context", "128"});
  Program first(node("plan", "n0", {"--join_timeout=4"}));
  Program second(node("other", "n1", {"--join_timeout=4", "--coordinator=" + addressOf(first)}));
  const Outcome refused = second.waitFromNow(15s);
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.exit_code, kTimedOut);
  EXPECT_TRUE(contains(refused.err, "plan")) << refused.err;
  EXPECT_TRUE(contains(refused.err, "n1")) << refused.err;
  const Outcome waiting = first.waitFromNow(15s);
  EXPECT_EQ(waiting.exit_code, 1) << describe(waiting);
}

TEST_F(ByHand, ANodeThePlanDoesNotKnowIsRefused) {
  compile("plan", {});
  const Outcome outcome = Program(node("plan", "n7", {})).wait(15s);
  EXPECT_EQ(outcome.exit_code, 2) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "n7")) << outcome.err;
}

TEST_F(ByHand, BeyondLoopbackASecretIsNeeded) {
  compile("plan", {});
  Words words = node("plan", "n0", {});
  words.push_back("--listen=0.0.0.0:0");
  const Outcome outcome = Program(words).wait(15s);
  EXPECT_EQ(outcome.exit_code, 2) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "secret")) << outcome.err;
}

}  // namespace
}  // namespace exo::testing
