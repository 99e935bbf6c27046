// What users get wrong: one clear message on stderr, exit code 2, at once, and no file begun.
#include <gtest/gtest.h>

#include <concepts>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/program.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

const fs::path kModel = fs::path(EXO_TEST_DATA) / "golden" / "llama";
constexpr auto kAtOnce = 20s;  // well under two on a machine with nothing else to do

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

void expectRefused(const Words& arguments, const std::vector<std::string>& says) {
  Program program(exocWords(arguments));
  const Outcome outcome = program.wait(kAtOnce);
  EXPECT_EQ(outcome.exit_code, 2) << describe(outcome);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(count(outcome.err, "exoc: "), 1u) << outcome.err;
  for (const std::string& part : says) EXPECT_TRUE(contains(outcome.err, part)) << "expected: " << part << "\ngot: " << outcome.err;
  EXPECT_EQ(program.leftovers(), Words{});
}

struct Refusal {
  const char* name;
  std::vector<std::string> says;
};
template <std::derived_from<Refusal> T>
void PrintTo(const T& refusal, std::ostream* out) {
  *out << refusal.name;
}

// --- weights ---------------------------------------------------------------------------------------------------------

/// A safetensors file as its header and its data.
struct Weights {
  json header;
  std::string data;
};

Weights readWeights(const fs::path& file) {
  const std::string bytes = readFile(file);
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof size);
  return {json::parse(bytes.substr(8, size)), bytes.substr(8 + size)};
}

void writeWeights(const Weights& weights, const fs::path& file) {
  const std::string header = weights.header.dump();
  const uint64_t size = header.size();
  writeFile(file, std::string(reinterpret_cast<const char*>(&size), sizeof size) + header + weights.data);
}

struct WeightsRefusal : Refusal {
  std::function<void(const fs::path& file)> damage;
};

std::function<void(const fs::path&)> header(std::function<void(json&)> change) {
  return [change = std::move(change)](const fs::path& file) {
    Weights weights = readWeights(file);
    change(weights.header);
    writeWeights(weights, file);
  };
}

std::function<void(const fs::path&)> bytes(std::function<std::string(std::string)> change) {
  return [change = std::move(change)](const fs::path& file) { writeFile(file, change(readFile(file))); };
}

class BadWeights : public ::testing::TestWithParam<WeightsRefusal> {};

TEST_P(BadWeights, AreRefused) {
  const Folder folder;
  copyFolder(kModel, folder / "model");
  GetParam().damage(folder / "model" / "model.safetensors");
  expectRefused({"run", folder / "model", "--tokens", "1,2,3", "--nodes", "2"}, GetParam().says);
  expectRefused({"compile", folder / "model", "--nodes", "2", "--out", folder / "plan"}, GetParam().says);
  EXPECT_FALSE(fs::exists(folder / "plan"));
}

const char* const kUp = "model.layers.1.mlp.up_proj.weight";
const char* const kGate = "model.layers.1.mlp.gate_proj.weight";

INSTANTIATE_TEST_SUITE_P(
    Each, BadWeights,
    ::testing::Values(WeightsRefusal{{"Empty", {"model.safetensors"}}, bytes([](std::string) { return std::string(); })},
                      WeightsRefusal{{"FourBytes", {"model.safetensors"}}, bytes([](std::string all) { return all.substr(0, 4); })},
                      WeightsRefusal{{"Truncated", {"model.safetensors"}}, bytes([](std::string all) { return all.substr(0, all.size() - 1000); })},
                      WeightsRefusal{{"TruncatedHeader", {"model.safetensors"}}, bytes([](std::string all) { return all.substr(0, 300); })},
                      WeightsRefusal{{"HugeHeader", {"model.safetensors"}}, bytes([](std::string all) { return std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8) + all.substr(8); })},
                      WeightsRefusal{{"Missing", {"expected a tensor", kUp, "found none"}}, header([](json& h) { h["renamed"] = h[kUp], h.erase(kUp); })},
                      WeightsRefusal{{"Transposed", {kUp, "[352, 128]", "[128, 352]"}}, header([](json& h) { h[kUp]["shape"] = {128, 352}; })},
                      WeightsRefusal{{"Overlapping", {"model.safetensors", "mlp"}}, header([](json& h) { h[kUp]["data_offsets"] = h[kGate]["data_offsets"]; })},
                      WeightsRefusal{{"BeyondTheEnd", {kUp}}, header([](json& h) { h[kUp]["data_offsets"] = {int64_t{1} << 40, (int64_t{1} << 40) + 90112}; })},
                      WeightsRefusal{{"UnknownType", {kUp, "F33"}}, header([](json& h) { h[kUp]["dtype"] = "F33"; })}),
    [](const auto& info) { return std::string(info.param.name); });

// --- configurations --------------------------------------------------------------------------------------------------

struct ConfigRefusal : Refusal {
  std::function<void(json&)> change;
};

class BadConfig : public ::testing::TestWithParam<ConfigRefusal> {};

TEST_P(BadConfig, IsRefused) {
  const Folder folder;
  json config = json::parse(readFile(kModel / "config.json"));
  GetParam().change(config);
  writeFile(folder / "config.json", config.dump());
  expectRefused({"compile", folder / "config.json", "--out", folder / "plan"}, GetParam().says);
  expectRefused({"run", folder / "config.json", "--random_weights", "7", "--tokens", "1"}, GetParam().says);
  EXPECT_FALSE(fs::exists(folder / "plan"));
}

INSTANTIATE_TEST_SUITE_P(
    Each, BadConfig,
    ::testing::Values(ConfigRefusal{{"ZeroHeads", {"num_attention_heads", "got 0"}}, [](json& c) { c["num_attention_heads"] = 0; }},
                      ConfigRefusal{{"BillionLayers", {"num_hidden_layers", "1000000000"}}, [](json& c) { c["num_hidden_layers"] = 1000000000; }},
                      ConfigRefusal{{"HugeVocabulary", {"vocab_size"}}, [](json& c) { c["vocab_size"] = int64_t{1} << 62; }},
                      ConfigRefusal{{"StringForNumber", {"hidden_size", "\"128\""}}, [](json& c) { c["hidden_size"] = "128"; }},
                      ConfigRefusal{{"NegativeWidth", {"intermediate_size", "-352"}}, [](json& c) { c["intermediate_size"] = -352; }},
                      ConfigRefusal{{"HeadsThatDoNotDivide", {"num_key_value_heads", "3"}}, [](json& c) { c["num_key_value_heads"] = 3; }},
                      ConfigRefusal{{"NoHiddenSize", {"hidden_size"}}, [](json& c) { c.erase("hidden_size"); }},
                      ConfigRefusal{{"UnknownRope", {"rope", "spiral"}}, [](json& c) { c["rope_scaling"] = {{"rope_type", "spiral"}, {"factor", 2.0}}; }},
                      ConfigRefusal{{"UnknownActivation", {"hidden_act", "swish2"}}, [](json& c) { c["hidden_act"] = "swish2"; }},
                      ConfigRefusal{{"UnknownQuantization", {"quant", "bogus"}}, [](json& c) { c["quantization_config"] = {{"quant_method", "bogus"}}; }},
                      ConfigRefusal{{"UnknownFamily", {"model_type", "lama", "llama"}}, [](json& c) { c["model_type"] = "lama"; }},
                      ConfigRefusal{{"NoFamily", {"model_type"}}, [](json& c) { c.erase("model_type"), c.erase("architectures"); }},
                      ConfigRefusal{{"NotAnObject", {"config.json"}}, [](json& c) { c = json::array({1, 2}); }}),
    [](const auto& info) { return std::string(info.param.name); });

// --- topologies ------------------------------------------------------------------------------------------------------

struct TopologyRefusal : Refusal {
  const char* text;
};

class BadTopology : public ::testing::TestWithParam<TopologyRefusal> {};

TEST_P(BadTopology, IsRefused) {
  const Folder folder;
  writeFile(folder / "topo.json", GetParam().text);
  std::vector<std::string> says = GetParam().says;
  expectRefused({"compile", kModel, "--nodes", folder / "topo.json", "--out", folder / "plan"}, says);
  EXPECT_FALSE(fs::exists(folder / "plan"));
}

INSTANTIATE_TEST_SUITE_P(
    Each, BadTopology,
    ::testing::Values(
        TopologyRefusal{{"SameName", {"topo.json", "\"a\""}}, R"({"nodes": [{"name": "a", "address": "127.0.0.1:1"}, {"name": "a", "address": "127.0.0.1:2"}]})"},
        TopologyRefusal{{"UnknownField", {"topo.json", "memory_gb", "memory_gib"}}, R"({"nodes": [{"name": "a", "address": "127.0.0.1:1", "memory_gb": 4}]})"},
        TopologyRefusal{{"BadJson", {"topo.json"}}, R"({"nodes": [)"},
        TopologyRefusal{{"NoNodes", {"topo.json", "nodes"}}, R"({"nodes": []})"},
        TopologyRefusal{{"NoAddress", {"topo.json", "address"}}, R"({"nodes": [{"name": "a"}]})"},
        TopologyRefusal{{"NegativeMemory", {"topo.json", "memory_gib"}}, R"({"nodes": [{"name": "a", "address": "127.0.0.1:1", "memory_gib": -1}]})"},
        TopologyRefusal{{"LinkToNobody", {"topo.json", "\"c\""}}, R"({"nodes": [{"name": "a", "address": "127.0.0.1:1"}], "links": [{"between": ["a", "c"], "transport": "tcp", "latency_us": 1, "bandwidth_gbit_per_s": 1}]})"},
        TopologyRefusal{{"TooSmall", {"\"a\" would need ", "too much", "would fit: "}}, R"({"nodes": [{"name": "a", "address": "127.0.0.1:1", "memory_gib": 0.0001}, {"name": "b", "address": "127.0.0.1:2", "memory_gib": 0.0001}]})"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Memory, ThatDoesNotSufficeIsToldByNodeWithWhatWouldFit) {
  const Folder folder;
  writeFile(folder / "topo.json", R"({"nodes": [{"name": "desk", "address": "127.0.0.1:1", "memory_gib": 3}, {"name": "mini", "address": "127.0.0.1:2", "memory_gib": 2}]})");
  expectRefused({"compile", "llama-3.1-8b", "--nodes", folder / "topo.json", "--out", folder / "plan"}, {"does not fit: it needs 15.51 GiB", "\"mini\" would need ", "GiB too much", "would fit: "});
  const Outcome fits = exoc({"compile", "llama-3.2-1b", "--nodes", folder / "topo.json", "--quant", "q4", "--out", folder / "plan"});
  EXPECT_EQ(fits.exit_code, 0) << describe(fits);
}

// --- command lines ---------------------------------------------------------------------------------------------------

struct LineRefusal : Refusal {
  Words arguments;
};

class BadLine : public ::testing::TestWithParam<LineRefusal> {};

TEST_P(BadLine, IsRefused) { expectRefused(GetParam().arguments, GetParam().says); }

const std::string kDirectory = kModel;

INSTANTIATE_TEST_SUITE_P(
    Each, BadLine,
    ::testing::Values(LineRefusal{{"UnknownCommand", {"unknown command \"compil\"", "compile"}}, {"compil", kDirectory}},
                      LineRefusal{{"UnknownFlag", {"unknown flag --node", "\"nodes\""}}, {"run", kDirectory, "--node", "2", "--tokens", "1"}},
                      LineRefusal{{"FlagOfAnotherCommand", {"--format"}}, {"run", kDirectory, "--format", "json", "--tokens", "1"}},
                      LineRefusal{{"NoValue", {"--tokens"}}, {"run", kDirectory, "--tokens"}},
                      LineRefusal{{"ZeroNodes", {"--nodes", "1 to", "got 0"}}, {"run", kDirectory, "--nodes", "0", "--tokens", "1"}},
                      LineRefusal{{"ManyNodes", {"--nodes"}}, {"run", kDirectory, "--nodes", "99999999999", "--tokens", "1"}},
                      LineRefusal{{"NoTopology", {"nowhere.json"}}, {"run", kDirectory, "--nodes", "nowhere.json", "--tokens", "1"}},
                      LineRefusal{{"TokenBeyondTheVocabulary", {"token 1", "511", "512"}}, {"run", kDirectory, "--tokens", "1,512"}},
                      LineRefusal{{"NegativeToken", {"--tokens", "-3"}}, {"run", kDirectory, "--tokens=-3"}},
                      LineRefusal{{"WordForToken", {"--tokens", "two"}}, {"run", kDirectory, "--tokens", "1,two"}},
                      LineRefusal{{"HugeToken", {"--tokens"}}, {"run", kDirectory, "--tokens", "99999999999999999999"}},
                      LineRefusal{{"UnknownQuantization", {"--quant", "q5"}}, {"run", kDirectory, "--quant", "q5", "--tokens", "1"}},
                      LineRefusal{{"UnknownStrategy", {"strategy", "tpp"}}, {"run", kDirectory, "--strategy", "tpp", "--nodes", "2", "--tokens", "1"}},
                      LineRefusal{{"GridOfAnotherSize", {"tp2pp2", "3"}}, {"run", kDirectory, "--strategy", "tp2pp2", "--nodes", "3", "--tokens", "1"}},
                      LineRefusal{{"ContextBeyondTheModels", {"--max_context"}}, {"run", kDirectory, "--max_context", "1000000", "--tokens", "1"}},
                      LineRefusal{{"ZeroStep", {"--step_tokens"}}, {"run", kDirectory, "--step_tokens", "0", "--tokens", "1"}},
                      LineRefusal{{"SeedThatIsNone", {"--random_weights", "seven"}}, {"run", kDirectory, "--random_weights", "seven", "--tokens", "1"}},
                      LineRefusal{{"NegativeTemperature", {"--temperature"}}, {"run", kDirectory, "--temperature", "-1", "--tokens", "1"}},
                      LineRefusal{{"NotANumberAsTemperature", {"--temperature"}}, {"run", kDirectory, "--temperature", "nan", "--tokens", "1"}},
                      LineRefusal{{"TopPOfTwo", {"--top_p"}}, {"run", kDirectory, "--top_p", "2", "--tokens", "1"}},
                      LineRefusal{{"UnknownIsa", {"sse9", "avx512-vnni"}}, {"run", kDirectory, "--isa", "sse9", "--tokens", "1"}},
                      LineRefusal{{"UnknownTransport", {"transport", "pigeon"}}, {"run", kDirectory, "--transport", "pigeon", "--tokens", "1"}},
                      LineRefusal{{"NoModel", {"nowhere"}}, {"run", "nowhere", "--tokens", "1"}},
                      LineRefusal{{"TwoModels", {"one argument"}}, {"run", kDirectory, kDirectory, "--tokens", "1"}},
                      LineRefusal{{"NoWeights", {"no weights", "--random_weights"}}, {"run", "llama-3.2-1b", "--tokens", "1"}},
                      LineRefusal{{"NoOut", {"--out"}}, {"compile", kDirectory}},
                      LineRefusal{{"UnknownDump", {"--dump_ir", "partition"}}, {"compile", kDirectory, "--out", "plan", "--dump_ir", "partitoin"}},
                      LineRefusal{{"NoPlan", {"plan.pb"}}, {"verify", kDirectory}},
                      LineRefusal{{"NoDump", {"no dump"}}, {"dump", kDirectory}},
                      LineRefusal{{"UnknownFormat", {"--format", "xml"}}, {"dump", kDirectory, "--format", "xml"}},
                      LineRefusal{{"UnknownPass", {"--passes", "partitoin"}}, {"opt", kDirectory + "/config.json", "--passes", "partitoin"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Prompt, LongerThanTheContextIsRefused) {
  std::string tokens = "1";
  for (int i = 0; i < 40; ++i) tokens += ",1";
  const Outcome outcome = exoc({"run", kDirectory, "--max_context", "32", "--tokens", tokens}, 20s);
  EXPECT_EQ(outcome.exit_code, 2) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "41") && contains(outcome.err, "32")) << outcome.err;
}

TEST(Isa, OneThatThisMachineLacksIsRefused) {
  if (readFile("/proc/cpuinfo").find("amx_int8") != std::string::npos) GTEST_SKIP() << "this machine has AMX";
  const Outcome outcome = exoc({"run", kDirectory, "--isa", "amx", "--tokens", "1"}, 20s);
  EXPECT_EQ(outcome.exit_code, 2) << describe(outcome);
  EXPECT_TRUE(contains(outcome.err, "this machine has no amx; its best is ")) << outcome.err;
}

// --- files -----------------------------------------------------------------------------------------------------------

TEST(Out, ADirectoryThatIsNoPlanIsNotTouched) {
  const Folder folder;
  fs::create_directory(folder / "thesis");
  writeFile(folder / "thesis" / "chapter1.txt", "years of work");
  expectRefused({"compile", kModel, "--out", folder / "thesis"}, {"thesis", "not a plan"});
  EXPECT_EQ(readFile(folder / "thesis" / "chapter1.txt"), "years of work");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "thesis"), {}), 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(Out, AFileIsNotReplaced) {
  const Folder folder;
  writeFile(folder / "notes", "keep me");
  expectRefused({"compile", kModel, "--out", folder / "notes"}, {"notes"});
  EXPECT_EQ(readFile(folder / "notes"), "keep me");
}

TEST(Out, APlanIsReplaced) {
  const Folder folder;
  ASSERT_EQ(exoc({"compile", kModel, "--nodes", "2", "--out", folder / "plan"}).exit_code, 0);
  ASSERT_EQ(exoc({"compile", kModel, "--nodes", "1", "--out", folder / "plan"}).exit_code, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(Text, ThatIsNoIrIsRefusedWithItsPlace) {
  const Folder folder;
  writeFile(folder / "bad.exoir", "graph @g mesh(tp = 1) {\n  block b stage 0\n    %x = inptu {source = \"tokens\"} : i32[T]\n}\n");
  expectRefused({"opt", folder / "bad.exoir"}, {"bad.exoir:3:", "inptu"});
  writeFile(folder / "cut.exoir", "graph @g mesh(tp = 1) {\n  block b stage 0\n    %x = input {source = \"tok");
  expectRefused({"opt", folder / "cut.exoir"}, {"cut.exoir:3:"});
  writeFile(folder / "noise.exoir", std::string("\0\x01\xff garbage", 11));
  expectRefused({"opt", folder / "noise.exoir"}, {"noise.exoir:1:"});
}

TEST(From, AFileThatIsNoDumpIsRefused) {
  const Folder folder;
  writeFile(folder / "x.exoir", "graph @g {}\n");
  expectRefused({"compile", kModel, "--out", folder / "plan", "--from", folder / "x.exoir"}, {"x.exoir", "// after"});
}

}  // namespace
}  // namespace exo::testing
