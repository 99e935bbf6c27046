// A server on two nodes under everything that clients do: nothing may be lost by it. bench_serve --siege is the same at full size, with times.
#include <gtest/gtest.h>
#include <signal.h>

#include "bench/load/siege.h"
#include "tests/end_to_end/program.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const fs::path kModel = fs::path(EXO_TEST_DATA) / "golden" / "llama";
constexpr double kMostGrowth = 12e6;   // bytes of both nodes together, from the first round's end on: what allocators keep differs by a few MB

TEST(Siege, NothingIsLostAndNothingIsLeft) {
  Program server(exocWords({"serve", kModel, "--nodes", "2", "--http", "127.0.0.1:0", "--weight_cache_dir", "none", "--max_sequences", "8"}));
  ASSERT_TRUE(server.waitForOutput("http://127.0.0.1:", 60s)) << server.err();
  ASSERT_TRUE(server.waitForOutput("\n", 5s));
  const std::string url = server.out();
  const auto target = load::parseTarget(url.substr(0, url.find('\n')));
  ASSERT_TRUE(target.ok()) << target.error();
  load::SiegeOptions options{.script = {.prompt_tokens = 16, .answer_tokens = 12, .pause = load::Seconds(0.02)}, .streams = 16, .answers = 4, .aborted = 60, .malformed = 62, .slow = 4,
                             .read_pause = load::Seconds(0.5), .patience = load::Seconds(60), .seed = 7, .rounds = 3};
  const auto report = load::besiege(*target, options);
  ASSERT_TRUE(report.ok()) << report.error();
  for (const std::string& wrong : report->wrong) ADD_FAILURE() << wrong;
  EXPECT_EQ(report->answers, options.rounds * (options.streams * options.answers + options.slow));
  EXPECT_EQ(report->left, options.rounds * options.aborted);
  EXPECT_EQ(report->refused, options.rounds * options.malformed);
  EXPECT_GT(report->health_s.size(), 10u);
  ASSERT_EQ(report->resident_bytes.size(), 3u);
  EXPECT_LT(static_cast<double>(report->resident_bytes.back()), static_cast<double>(report->resident_bytes.front()) + kMostGrowth);
  ::kill(server.pid(), SIGINT);
  const Outcome outcome = server.waitFromNow(20s);
  EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
}

}  // namespace
}  // namespace exo::testing
