// A node on a machine without the model: its weights come from another node.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string addressOf(Program& node) {
  const std::string before = "listening at ";
  EXPECT_TRUE(node.waitForOutput(before, 20s)) << node.err();
  const std::string log = node.err();
  const size_t at = log.find(before) + before.size();
  return log.substr(at, log.find('\n', at) - at);
}

TEST(PeerWeights, ANodeWithoutTheModelAnswersAsOneWithIt) {
  const Folder folder;
  const fs::path golden = fs::path(EXO_TEST_DATA) / "golden" / "llama", model = folder / "model", plan = folder / "plan";
  fs::copy(golden, model);
  const Outcome compiled = exoc({"compile", model, "--nodes", "2", "--strategy", "tp", "--quant", "q8", "--out", plan});
  ASSERT_EQ(compiled.exit_code, 0) << describe(compiled);
  fs::remove_all(model);  // where the plan says the model is, there is nothing now
  const auto node = [&](const std::string& name, const Words& more) {
    Words words = executorWords({"--plan=" + plan.string(), "--node=" + name, "--listen=127.0.0.1:0", "--threads=1", "--weight_cache_dir=none"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const Outcome alone = Program(node("n1", {"--coordinator=127.0.0.1:1"})).wait(20s);
  EXPECT_EQ(alone.exit_code, 2) << describe(alone);

  const std::vector<int64_t> prompt = {5, 6, 7, 8, 9};
  const RunResult one = runModel({golden, {1, "auto"}, prompt, "q8"}), two = runModel({golden, {2, "tp"}, prompt, "q8"});
  for (const std::string transport : {"shm", "tcp"}) {
    Program first(node("n0", {"--model=" + golden.string(), "--transport=" + transport}));
    const std::string address = addressOf(first);
    Program second(node("n1", {"--weights_from_peer", "--coordinator=" + address, "--transport=" + transport}));
    ASSERT_TRUE(first.waitForOutput("ready: node", 30s)) << first.err() << second.err();
    const Outcome asked = exoc({"run", plan, "--connect", address, "--tokens", "5,6,7,8,9", "--ignore_eos", "--max_tokens", "16", "--tokens_out", folder / "tokens", "--logits", folder / "logits"});
    ASSERT_EQ(asked.exit_code, 0) << describe(asked) << first.err() << second.err();
    EXPECT_EQ(nlohmann::json::parse(readFile(folder / "tokens")).at("tokens").get<std::vector<int64_t>>(), one.tokens);
    EXPECT_EQ(readLogits(folder / "logits", "logits").values, two.logits.values) << "the same bits as with weights of its own, over " << transport;
    ::kill(first.pid(), SIGTERM);
    EXPECT_EQ(first.waitFromNow(15s).exit_code, 0) << first.err();
    EXPECT_EQ(second.waitFromNow(15s).exit_code, 0) << second.err();
  }
}

TEST(PeerWeights, OfNobodyAreAnErrorEverywhere) {
  const Folder folder;
  const fs::path golden = fs::path(EXO_TEST_DATA) / "golden" / "llama", plan = folder / "plan";
  ASSERT_EQ(exoc({"compile", golden, "--nodes", "2", "--strategy", "tp", "--out", plan}).exit_code, 0);
  const auto node = [&](const std::string& name, const std::string& more) {
    return executorWords({"--plan=" + plan.string(), "--node=" + name, "--listen=127.0.0.1:0", "--threads=1", "--weights_from_peer", more});
  };
  Program first(node("n0", "--isa=auto"));
  Program second(node("n1", "--coordinator=" + addressOf(first)));
  for (Program* each : {&first, &second}) {
    const Outcome outcome = each->waitFromNow(30s);
    EXPECT_EQ(outcome.exit_code, 1) << describe(outcome);
    EXPECT_TRUE(contains(outcome.err, "no node of the plan has the weights")) << outcome.err;
  }
  const Outcome both = Program(node("n0", "--model=" + golden.string())).wait(10s);
  EXPECT_EQ(both.exit_code, 2) << describe(both);
  EXPECT_TRUE(contains(both.err, "--weights_from_peer: this node has weights of its own, by --model")) << both.err;
}

}  // namespace
}  // namespace exo::testing
