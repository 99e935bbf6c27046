// The program exo-exec as its users meet it: flags and exit codes, events, real engines on hand-written programs.
#include <google/protobuf/text_format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "child_process.h"
#include "codegen/plan.h"
#include "executor/cluster/client.h"

namespace exo {
namespace {

using namespace std::chrono_literals;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Ended {
  int code;
  std::string output;
};
Ended exec(std::vector<std::string> flags) {
  flags.insert(flags.begin(), EXO_EXEC);
  ChildProcess process(std::move(flags), ChildProcess::Capture::kBoth);
  const int code = process.wait(30s);
  return {code, process.output()};
}

TEST(ExoExec, BadInputIsExitCodeTwoAndSaysWhat) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"--plam=x"}, "did you mean \"plan\""},
      {{"--threads=many"}, "\"many\""},
      {{"--threads"}, "expected a value"},
      {{"stray"}, "\"stray\""},
      {{}, "--plan and --node are needed"},
      {{"--plan=/nonexistent", "--node=a"}, "/nonexistent"},
      {{"--measure_only", "--listen=0.0.0.0:0"}, "--secret_file"},
      {{"--measure_only", "--listen=nowhere"}, "expected host:port"},
      {{"--measure_only", "--peer_timeout=-1"}, "--peer_timeout"},
      {{"--measure_only", "--secret_file=/nonexistent"}, "/nonexistent"},
      {{"--status_fd=99"}, "descriptor 99"},
  };
  for (const auto& [flags, said] : cases) {
    const Ended run = exec(flags);
    EXPECT_EQ(run.code, 2) << run.output;
    EXPECT_TRUE(contains(run.output, said)) << run.output;
  }
}

TEST(ExoExec, HelpHasExamplesAndExitCodes) {
  const Ended run = exec({"--help"});
  EXPECT_EQ(run.code, 0);
  for (const char* part : {"--secret_file", "Examples:", "Exit codes:", "--measure_only"}) EXPECT_TRUE(contains(run.output, part)) << part;
}

TEST(ExoExec, ChildrenVanishWithTheirParent) {
  const std::string command = std::string(EXO_EXEC) + " --measure_only --listen=127.0.0.1:0 --status_fd=1 --die_with_parent & wait";
  ChildProcess shell({"sh", "-c", command});
  ASSERT_FALSE(shell.waitFor("\"listening\"").empty());
  shell.signal(SIGKILL);
  EXPECT_TRUE(shell.outputEnds(5s));
}

/// A plan of hand-written programs with made-up weights.
class Plans : public testing::Test {
 protected:
  Plans() : directory_(std::filesystem::temp_directory_path() / ("exo_plans_" + std::to_string(::getpid()))) {}
  ~Plans() override { std::filesystem::remove_all(directory_); }

  std::string save(const std::vector<std::string>& programs) {
    plan::Plan plan;
    plan.set_model("tiny");
    plan.set_random_seed(7);
    for (size_t rank = 0; rank < programs.size(); ++rank) {
      std::ifstream file(std::string(EXO_TEST_DATA) + "/programs/" + programs[rank]);
      std::stringstream text;
      text << file.rdbuf();
      EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text.str(), plan.add_programs())) << programs[rank];
      plan::Node* node = plan.add_nodes();
      node->set_name("n" + std::to_string(rank));
      node->set_address("127.0.0.1:0");
      node->set_rank(static_cast<uint32_t>(rank));
    }
    plan::Node* left_out = plan.add_nodes();
    left_out->set_name("slow");
    left_out->set_address("127.0.0.1:0");
    const std::filesystem::path path = directory_ / std::to_string(programs.size());
    std::filesystem::create_directories(path);
    const Status saved = savePlan(plan, path);
    EXPECT_TRUE(saved.ok());
    return path.string();
  }

  std::vector<std::string> flags(const std::string& plan, const std::string& node) const {
    return {EXO_EXEC, "--plan=" + plan, "--node=" + node, "--threads=1", "--status_fd=1", "--cache_dir=" + (directory_ / "cache").string(), "--weight_cache_dir=none"};
  }

  std::string addressIn(ChildProcess& process) {
    const std::string rest = process.waitFor("\"listening\",\"address\":\"");
    return rest.substr(0, rest.find('"'));
  }

  std::filesystem::path directory_;
};

class Tokens : public cluster::GenerateSink {
 public:
  Status token(int32_t id) override {
    ids.push_back(id);
    return {};
  }
  Status logits(int64_t, int64_t, int64_t, std::span<const float>) override { return {}; }
  std::vector<int32_t> ids;
};

Result<std::vector<int32_t>> generate(const std::string& address, int64_t max_tokens) {
  EXO_ASSIGN(const cluster::Address at, cluster::parseAddress(address));
  EXO_ASSIGN(const auto client, cluster::ControlClient::connect(at, cluster::Security::loopbackOnly()));
  Tokens tokens;
  const auto stats = client->generate({.prompt = {5, 17, 42}, .max_tokens = max_tokens, .eos_ids = {}}, tokens);
  if (!stats.ok()) return stats.error();
  return tokens.ids;
}

TEST_F(Plans, TwoNodesSayWhatOneSaysAndEndTogether) {
  ChildProcess alone(flags(save({"tiny_llama.textproto"}), "n0"));
  const std::string alone_at = addressIn(alone);
  ASSERT_FALSE(alone.waitFor("\"ready\"").empty()) << alone.output();
  const auto expected = generate(alone_at, 20);
  ASSERT_TRUE(expected.ok()) << expected.error();
  EXPECT_EQ(expected->size(), 20u);

  const std::string plan = save({"tiny_llama_tp2_rank0.textproto", "tiny_llama_tp2_rank1.textproto"});
  ChildProcess first(flags(plan, "n0"));
  const std::string address = addressIn(first);
  auto second_flags = flags(plan, "n1");
  second_flags.push_back("--coordinator=" + address);
  ChildProcess second(second_flags);
  ASSERT_FALSE(first.waitFor("\"ready\"").empty()) << first.output();
  ASSERT_FALSE(second.waitFor("\"ready\"").empty()) << second.output();
  const auto tokens = generate(address, 20);
  ASSERT_TRUE(tokens.ok()) << tokens.error();
  EXPECT_EQ(*tokens, *expected);

  second.signal(SIGKILL);
  EXPECT_EQ(first.wait(10s), 1) << first.output();
  EXPECT_TRUE(contains(first.output(), "\"event\":\"error\"")) << first.output();
  EXPECT_TRUE(contains(first.output(), "n1")) << first.output();
  alone.signal(SIGTERM);
  EXPECT_EQ(alone.wait(10s), 0) << alone.output();
}

TEST_F(Plans, NodesThatCannotRunAreBadInput) {
  const std::string plan = save({"tiny_llama.textproto"});
  const Ended unknown = exec({"--plan=" + plan, "--node=m0"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_TRUE(contains(unknown.output, "it has: n0, slow")) << unknown.output;
  const Ended left_out = exec({"--plan=" + plan, "--node=slow"});
  EXPECT_EQ(left_out.code, 2);
  EXPECT_TRUE(contains(left_out.output, "leaves node \"slow\" out")) << left_out.output;
  const std::string two = save({"tiny_llama_tp2_rank0.textproto", "tiny_llama_tp2_rank1.textproto"});
  const Ended no_port = exec({"--plan=" + two, "--node=n1"});
  EXPECT_EQ(no_port.code, 2);
  EXPECT_TRUE(contains(no_port.output, "--coordinator")) << no_port.output;
}

TEST_F(Plans, ADamagedByteIsNoticed) {
  const std::string plan = save({"tiny_llama.textproto"});
  std::fstream file(plan + "/plan.pb", std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(500);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(500);
  file.put(byte);
  file.close();
  const Ended run = exec({"--plan=" + plan, "--node=n0"});
  EXPECT_EQ(run.code, 2);
  EXPECT_TRUE(contains(run.output, "damaged")) << run.output;
}

TEST_F(Plans, AMissingNodeIsAFailureWithItsName) {
  const std::string plan = save({"tiny_llama_tp2_rank0.textproto", "tiny_llama_tp2_rank1.textproto"});
  const Ended run = exec({"--plan=" + plan, "--node=n0", "--join_timeout=0.5"});
  EXPECT_EQ(run.code, 1);
  EXPECT_TRUE(contains(run.output, "missing: n1")) << run.output;
}

}  // namespace
}  // namespace exo
