// A model as the user names it: a Hugging Face directory, a GGUF file, or a card (a configuration without weights).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "frontend/architectures/architecture.h"
#include "frontend/checkpoint/checkpoint.h"
#include "frontend/config/model_config.h"

namespace exo {

struct Model {
  std::string name;                       // of the directory or card, fit for a graph name
  std::filesystem::path directory;        // absolute; a GGUF file is its own; empty for a card
  ModelConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;  // null without weights
};

/// `spec`: a directory, a .gguf file, a .json file, the name of a card, or ORG/NAME of a model that `exoc pull` has downloaded. Opens the checkpoint when the directory has one and checks
/// that every tensor the model needs is there in the right shape.
Result<Model> openModel(const std::string& spec);

enum class Quantization { kKeep, kF32, kBF16, kQ8, kQ4 };
/// "keep", "f32", "bf16", "q8", "q4"; error with the nearest of them.
Result<Quantization> parseQuantization(const std::string& text);
std::string name(Quantization quantization);

/// The global graph. keep: weights in the encoding they are stored in (a card: its configuration's dtype, else bf16).
/// The KV cache is f32 when the first layer's projections are, else f16.
Result<Graph> importGraph(const Model& model, Quantization quantization, int64_t max_context);

/// Checks every weight of the graph against the checkpoint: present, shape as expected.
Status checkWeights(const Graph& graph, const Checkpoint& checkpoint);

}  // namespace exo
