// The executor's logits beside those of the reference interpreter with the same weights: the distribution of their differences,
// equal best tokens, equal greedy continuations. Models: folders with config, weights and expected.json (tests/data/golden),
// whose prompts are used.
#include <gflags/gflags.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/agreement.h"
#include "bench/flags.h"

DEFINE_string(models, "", "folders of models with prompts in expected.json");
DEFINE_string(quants, "f32,keep,q8,q4", "quantisations");
DEFINE_int64(generate, 16, "tokens of each greedy continuation");

namespace exo::bench {
namespace {

Result<std::vector<std::vector<int32_t>>> promptsOf(const std::filesystem::path& folder) {
  std::ifstream file(folder / "expected.json");
  const auto json = nlohmann::json::parse(file, nullptr, false);
  std::vector<std::vector<int32_t>> prompts;
  if (json.is_object() && json.contains("prompts") && json["prompts"].is_array()) {
    for (const auto& prompt : json["prompts"]) {
      if (!prompt.is_object() || !prompt.contains("input_ids") || !prompt["input_ids"].is_array()) continue;
      std::vector<int32_t>& ids = prompts.emplace_back();
      for (const auto& id : prompt["input_ids"]) ids.push_back(id.is_number_integer() ? id.get<int32_t>() : -1);
    }
  }
  if (prompts.empty()) return invalid("expected prompts[].input_ids in ", (folder / "expected.json").string());
  return prompts;
}

void print(const std::string& model, Quantization quantization, const Agreement& a) {
  std::printf("%-16s %-4s %5ld rows: |difference| in ranges of the logits: mean %.1e, p50 %.1e, p99 %.1e, max %.1e; rms %.1e of their spread; best token equal in %.1f %%",
              model.c_str(), name(quantization).c_str(), static_cast<long>(a.rows), a.mean, a.p50, a.p99, a.max, a.relative_rms, 100 * a.equal_best);
  if (a.smallest_lead > 0) std::printf(" (else it led by %.1e at least)", a.smallest_lead);
  std::printf("; greedy %ld of %ld tokens\n", static_cast<long>(a.greedy_equal), static_cast<long>(a.greedy_tokens));
  std::fflush(stdout);
}

Status run() {
  EXO_TRY(checkRange("generate", FLAGS_generate, 0, 1 << 12));
  EXO_ASSIGN(const auto models, listFlag("models", FLAGS_models));
  EXO_ASSIGN(const auto quants, listFlag("quants", FLAGS_quants));
  for (const std::string& model : models) {
    const std::filesystem::path folder = model;
    EXO_ASSIGN(const auto prompts, promptsOf(folder));
    for (const std::string& quant : quants) {
      EXO_ASSIGN(const Quantization quantization, parseQuantization(quant));
      EXO_ASSIGN(const Agreement agreement, agreementOf({folder, quantization, prompts, FLAGS_generate}));
      print(folder.filename().string(), quantization, agreement);
    }
  }
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_accuracy: logits of the executor beside those of the reference interpreter", {"models", "quants", "generate"}, exo::bench::run);
}
