// Latent attention's matrices by head. Checkpoints keep the matrix that makes keys and values of all heads out of a latent
// vector as one, kv_b_proj [H · (K + V), L]: of each head K rows of keys, then V of values. Graphs ask for a head's parts:
//   PATH.kv_b_proj.heads.N.key.weight   [L, K], transposed: it takes a query into the latent space
//   PATH.kv_b_proj.heads.N.value.weight [V, L]
// H heads, K key dim without the rotated part, V value dim, L latent dim.
#pragma once

#include <filesystem>

#include "frontend/checkpoint/stored_tensor.h"

namespace exo {

struct LatentHeads {
  int64_t heads = 0;   // 0: the model has no latent attention
  int64_t key_dim = 0, value_dim = 0;
};

/// Of the config.json in `directory`; no heads without the file.
Result<LatentHeads> loadLatentHeads(const std::filesystem::path& directory);

/// Adds the parts of every kv_b_proj in `tensors`.  Error kMismatch if one has not H · (K + V) rows.
Status addLatentHeads(const LatentHeads& heads, StoredTensors& tensors);

}  // namespace exo
