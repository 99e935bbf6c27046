// Plans as people handle them: dumped, read, edited by hand, compiled again, proved, tampered with.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

const std::string kModel = fs::path(EXO_TEST_DATA) / "golden" / "llama";

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Replaces `from` by `to` behind every occurrence of `after`, on the same line. The number of replacements.
int replaceBehind(std::string& text, const std::string& after, const std::string& from, const std::string& to) {
  int count = 0;
  for (size_t at = text.find(after); at != std::string::npos; at = text.find(after, at + 1)) {
    const size_t place = text.find(from, at);
    if (place == std::string::npos || place > text.find('\n', at)) continue;
    text.replace(place, from.size(), to);
    ++count;
  }
  return count;
}

class Plans : public ::testing::Test {
 protected:
  void SetUp() override {
    const Outcome outcome = compile("plan", {});
    ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
  }
  Outcome compile(const std::string& out, const Words& more) {
    Words words = {"compile", kModel, "--nodes", "2", "--strategy", "tp", "--quant", "f32", "--out", folder_ / out};
    words.insert(words.end(), more.begin(), more.end());
    return exoc(words);
  }
  fs::path dump(const std::string& file) const { return folder_ / "plan" / "ir" / file; }
  std::string plan() const { return folder_ / "plan"; }
  Folder folder_;
};

TEST_F(Plans, EveryDumpPrintsBackByteForByte) {
  size_t dumps = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "plan" / "ir")) {
    const Outcome outcome = exoc({"opt", entry.path()});
    EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
    EXPECT_EQ(outcome.out, readFile(entry.path())) << entry.path();
    ++dumps;
  }
  EXPECT_EQ(dumps, 10u);
}

TEST_F(Plans, PassesOnADumpGiveTheNextDump) {
  const Outcome outcome = exoc({"opt", dump("02-choose_parallelism.exoir"), "--passes=propagate-shardings,insert-collectives"});
  EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
  EXPECT_EQ(outcome.out, readFile(dump("04-insert_collectives.exoir")));
}

TEST_F(Plans, ARegionSaysHowItIsDivided) {
  const Outcome outcome = exoc({"dump", plan(), "--pass", "fuse"});
  EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
  // Two of the four heads of 32 on this rank; keys and values of its one KV head.
  EXPECT_TRUE(contains(outcome.out, "> 1 unit of 64 columns, all rows: matmul, rope | 1 unit of 64 columns, all rows: matmul, matmul, rope, kv_append; a barrier behind")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "region layers.0.0   // rows first: rms_norm (")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "all_reduce: one thread, inside the barrier of the region before")) << outcome.out;
}

TEST_F(Plans, AProfileOpensInATraceViewerAndAddsUp) {
  const fs::path trace = folder_ / "trace.json";
  const Outcome outcome = exoc({"run", plan(), "--tokens", "1,2,3", "--max_tokens", "4", "--ignore_eos", "--threads", "1", "--profile", trace});
  ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "rank 0: 4 steps of") && contains(outcome.err, "rank 1: 4 steps of") && contains(outcome.err, "waited for rank 0")) << outcome.err;
  const json profile = json::parse(readFile(trace));
  int by_rank[2] = {0, 0};
  for (const json& event : profile["traceEvents"]) {
    if (event["ph"] == "X") ++by_rank[event["pid"].get<int>()];
  }
  EXPECT_GT(by_rank[0], 100);
  EXPECT_GT(by_rank[1], 100);
  EXPECT_EQ(exoc({"run", plan(), "--connect", "127.0.0.1:1", "--profile", trace}).exit_code, 2);
}

TEST_F(Plans, CompilingTwiceGivesTheSameBytes) {
  ASSERT_EQ(compile("again", {}).exit_code, 0);
  EXPECT_EQ(readFile(folder_ / "again" / "plan.pb"), readFile(folder_ / "plan" / "plan.pb"));
}

std::string topologyWith(const std::string& collectives) {
  return R"({"nodes": [{"name": "n0", "address": "127.0.0.1:0"}, {"name": "n1", "address": "127.0.0.1:0"}, {"name": "n2", "address": "127.0.0.1:0"}],
             "collectives": [{"operation": "all_reduce", "group": ["n0", "n1", "n2"], )" + collectives + "}]}";
}

TEST_F(Plans, TheAlgorithmsOfTheTopologyRunAndAnswerWithTheSameBits) {
  std::vector<RunResult> results;
  for (const char* algorithm : {"one-shot", "two-shot", "chain", "hierarchical"}) {
    writeFile(folder_ / "topo.json", topologyWith(R"("steps": [{"algorithm": ")" + std::string(algorithm) + "\"}]"));
    const std::string out = folder_ / algorithm;
    const Outcome outcome = exoc({"compile", kModel, "--nodes", folder_ / "topo.json", "--strategy", "tp", "--quant", "f32", "--out", out});
    ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
    EXPECT_TRUE(contains(outcome.out, "stage 0: " + std::string(algorithm) + " for any size (measured)")) << outcome.out;
    results.push_back(runModel({out, {}, {5, 6, 7, 8, 9, 10}}));
    EXPECT_TRUE(results.back().ok);
    EXPECT_EQ(results.back().tokens, results.front().tokens) << algorithm;
    EXPECT_EQ(results.back().logits.values, results.front().logits.values) << algorithm;
  }
}

TEST_F(Plans, Bf16TravelsOnlyWhenAskedFor) {
  const Words base = {"compile", kModel, "--nodes", "2", "--strategy", "tp", "--quant", "f32", "--step_tokens", "512", "--max_context", "512", "--out", folder_ / "wire"};
  const auto compiled = [&](const std::string& wire) {
    Words words = base;
    if (!wire.empty()) words.push_back("--wire=" + wire);
    return exoc(words);
  };
  EXPECT_FALSE(contains(compiled("").out, "bf16"));
  EXPECT_TRUE(contains(compiled("bf16").out, "all_reduce of more than 64.0 KiB travels as bf16")) << compiled("bf16").out;
  // Between two nodes of one machine rounding costs more than it saves.
  EXPECT_TRUE(contains(compiled("auto").out, "all_reduce stays in f32: bf16 on the wire would take")) << compiled("auto").out;
  const Outcome wrong = compiled("f16");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_TRUE(contains(wrong.err, "--wire: expected f32, bf16 or auto, got \"f16\"")) << wrong.err;
}

TEST_F(Plans, AnEditedSplitCompilesAndAnswersTheSame) {
  std::string text = readFile(dump("02-choose_parallelism.exoir"));
  ASSERT_EQ(replaceBehind(text, "@layers.0.mlp.gate_proj = ", "[176, 176]", "[192, 160]"), 1);
  ASSERT_EQ(replaceBehind(text, "@layers.0.mlp.up_proj = ", "[176, 176]", "[192, 160]"), 1);
  writeFile(folder_ / "edited.exoir", text);
  const Outcome outcome = compile("edited", {"--from", folder_ / "edited.exoir"});
  ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
  EXPECT_NE(readFile(folder_ / "edited" / "plan.pb"), readFile(folder_ / "plan" / "plan.pb"));
  // The down projection follows the activations it multiplies.
  EXPECT_TRUE(contains(readFile(folder_ / "edited" / "ir" / "03-propagate_shardings.exoir"), "split(1, [192, 160])"));
  const RunResult before = runModel({plan(), {}, {5, 6, 7, 8}}), after = runModel({folder_ / "edited", {}, {5, 6, 7, 8}});
  EXPECT_EQ(after.tokens, before.tokens);
  expectNear(after.logits, before.logits, 1e-3);
}

TEST_F(Plans, AnEditThatContradictsItselfIsRefusedByName) {
  std::string text = readFile(dump("02-choose_parallelism.exoir"));
  ASSERT_EQ(replaceBehind(text, "@layers.0.mlp.gate_proj = ", "[176, 176]", "[192, 160]"), 1);
  writeFile(folder_ / "edited.exoir", text);
  const Outcome outcome = compile("edited", {"--from", folder_ / "edited.exoir"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "%layers.0.mlp.act = silu_mul")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "[192, 160]") && contains(outcome.err, "[176, 176]")) << outcome.err;
  EXPECT_FALSE(fs::exists(folder_ / "edited"));
}

TEST_F(Plans, AnEditThatDoesNotCoverItsTensorIsRefusedByName) {
  std::string text = readFile(dump("02-choose_parallelism.exoir"));
  ASSERT_EQ(replaceBehind(text, "@layers.0.mlp.gate_proj = ", "[176, 176]", "[176, 175]"), 1);
  writeFile(folder_ / "edited.exoir", text);
  const Outcome outcome = compile("edited", {"--from", folder_ / "edited.exoir"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "351 of the 352") && contains(outcome.err, "@layers.0.mlp.gate_proj")) << outcome.err;
}

TEST_F(Plans, ADumpOfAnotherMeshIsRefused) {
  const Outcome outcome = exoc({"compile", kModel, "--nodes", "3", "--strategy", "tp", "--quant", "f32", "--out", folder_ / "three", "--from", dump("02-choose_parallelism.exoir")});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "mesh(tp = 2)")) << outcome.err;
}

TEST_F(Plans, VerifyProvesAGoodPlanAndRunsItAgainstOneNode) {
  const Outcome outcome = exoc({"verify", plan()});
  EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
  EXPECT_FALSE(contains(outcome.out, "FAILED")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "ok      the same logits as on one node")) << outcome.out;
}

TEST_F(Plans, VerifyProvesPipelinesAndQuantizedGridsToo) {
  for (const Words& how : {Words{"--nodes", "3", "--strategy", "pp", "--quant", "q4"}, Words{"--nodes", "4", "--strategy", "tp2pp2", "--quant", "q8"}}) {
    Words words = {"compile", fs::path(EXO_TEST_DATA) / "golden" / "qwen3_moe", "--out", folder_ / "other"};
    words.insert(words.end(), how.begin(), how.end());
    ASSERT_EQ(exoc(words).exit_code, 0);
    const Outcome outcome = exoc({"verify", folder_ / "other"});
    EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
  }
}

TEST_F(Plans, VerifyRefusesADumpThatIsNotThePlans) {
  // The whole dump changes its mind about who owns which rows; the ranks' graphs do not.
  std::string text = readFile(dump("04-insert_collectives.exoir"));
  ASSERT_GT(replaceBehind(text, "@embed_tokens = ", "[256, 256]", "[272, 240]"), 0);
  writeFile(dump("04-insert_collectives.exoir"), text);
  const Outcome outcome = exoc({"verify", plan()});
  EXPECT_EQ(outcome.exit_code, 1) << describe(outcome);
  EXPECT_TRUE(contains(outcome.out, "FAILED  owners and layers")) << outcome.out;
}

TEST_F(Plans, AChangedByteIsRefusedByAll) {
  const std::string good = readFile(folder_ / "plan" / "plan.pb");
  for (size_t at : {size_t{3}, good.size() / 3, good.size() / 2, good.size() - 2}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    writeFile(folder_ / "plan" / "plan.pb", bad);
    const Outcome verified = exoc({"verify", plan()}), ran = exoc({"run", plan(), "--tokens", "1,2"});
    const Outcome node = Program(executorWords({"--plan=" + plan(), "--node=n0", "--listen=127.0.0.1:0"})).wait(20s);
    for (const Outcome* outcome : {&verified, &ran, &node}) {
      EXPECT_EQ(outcome->exit_code, 2) << "byte " << at << ": " << describe(*outcome);
      EXPECT_TRUE(contains(outcome->err, "plan.pb")) << outcome->err;
    }
  }
}

TEST_F(Plans, DumpsAsTextPictureAndJson) {
  const Outcome text = exoc({"dump", plan()}), picture = exoc({"dump", plan(), "--format", "dot"}), data = exoc({"dump", plan(), "--format", "json"}), node = exoc({"dump", plan(), "--node", "n1"});
  for (const Outcome* outcome : {&text, &picture, &data, &node}) ASSERT_EQ(outcome->exit_code, 0) << describe(*outcome);
  // Annotated text is still IR.
  writeFile(folder_ / "annotated.exoir", text.out);
  const Outcome parsed = exoc({"opt", folder_ / "annotated.exoir"});
  EXPECT_EQ(parsed.exit_code, 0) << describe(parsed);
  EXPECT_TRUE(contains(text.out, "all_reduce"));
  EXPECT_TRUE(picture.out.starts_with("digraph ") && picture.out.ends_with("}\n"));
  EXPECT_EQ(std::count(picture.out.begin(), picture.out.end(), '{'), std::count(picture.out.begin(), picture.out.end(), '}'));
  EXPECT_TRUE(contains(picture.out, "all_reduce") && contains(picture.out, " -> "));
  const json graphs = json::parse(data.out, nullptr, false);
  ASSERT_TRUE(graphs.is_array() && graphs.size() == 1);
  EXPECT_EQ(graphs[0].at("mesh"), "mesh(tp = 2)");
  EXPECT_GT(graphs[0].at("nodes").size(), 50u);
  EXPECT_TRUE(contains(node.out, "rank = 1") || contains(node.out, "rank 1")) << node.out.substr(0, 300);
}

TEST_F(Plans, ARunInATinyContextStopsAtItsEnd) {
  ASSERT_EQ(compile("small", {"--max_context", "12"}).exit_code, 0);
  const Outcome outcome = exoc({"run", folder_ / "small", "--tokens", "1,2,3,4", "--ignore_eos", "--max_tokens", "100", "--tokens_out", folder_ / "t.json"});
  ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
  const size_t generated = json::parse(readFile(folder_ / "t.json")).at("tokens").size();
  EXPECT_GE(generated, 8u);
  EXPECT_LE(generated, 9u);  // the last token needs no place in the cache
}

TEST(Show, TellsWhatAModelIs) {
  const Outcome outcome = exoc({"show", kModel});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* part : {"family      llama", "layers      ", "parameters  ", "grouped queries: 4 query heads share 2 KV heads", "rope scaling: llama3"}) EXPECT_TRUE(contains(outcome.out, part)) << outcome.out;
}

TEST(BigModels, PlansNeedNoWeights) {
  const Folder folder;
  for (const auto& [card, nodes] : {std::pair{"qwen3-235b-a22b", "4"}, std::pair{"llama-3.1-405b", "8"}}) {
    const Outcome outcome = exoc({"compile", card, "--nodes", nodes, "--quant", "q4", "--out", folder / card});
    ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
    const Outcome verified = exoc({"verify", folder / card}, 120s);
    EXPECT_EQ(verified.exit_code, 0) << describe(verified);
    EXPECT_TRUE(contains(verified.out, "there are no weights")) << verified.out;
  }
}

}  // namespace
}  // namespace exo::testing
