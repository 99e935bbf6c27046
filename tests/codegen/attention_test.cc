// KV_APPEND and ATTENTION over paged caches, against softmax in double; chunked prefill equals one token at a time bit for bit, and so does
// attention split over positions.
#include <thread>

#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Encoding;
using program::Kernel;

struct Heads {
  int64_t heads, kv_heads, group, first_head, dim;
  int64_t window = 0;
  float soft_cap = 0;
  bool sinks = false;
  int64_t value_dim = 0;   // of a latent cache
  int64_t outDim() const { return value_dim > 0 ? value_dim : dim; }
};

/// Sequences with pages scattered over the cache; queries, keys and values of every position.
class World {
 public:
  World(Isa isa, Encoding encoding, Heads h, std::vector<int64_t> lengths)
      : isa_(isa), h_(h), lengths_(std::move(lengths)), cache_(0) {
    int64_t pages = 0;
    for (int64_t length : lengths_) {
      stride_ = std::max(stride_, (length + kPageTokens - 1) / kPageTokens);
      pages += (length + kPageTokens - 1) / kPageTokens;
    }
    table_.assign(stride_ * lengths_.size(), 0);
    int32_t page = static_cast<int32_t>(pages);
    for (size_t s = 0; s < lengths_.size(); ++s) {
      for (int64_t p = 0; p * kPageTokens < lengths_[s]; ++p) table_[s * stride_ + p] = --page;
      q_.push_back(randomFloats(lengths_[s] * h.heads * h.dim, 10 + s));
      k_.push_back(randomFloats(lengths_[s] * h.kv_heads * h.dim, 20 + s));
      v_.push_back(randomFloats(lengths_[s] * h.kv_heads * h.dim, 30 + s));
    }
    // NaN everywhere: a kernel that uses what was never written shows.
    cache_ = Memory(cacheBytes(encoding, pages, h.kv_heads, h.dim, h.value_dim > 0 ? 0 : h.dim), 0xff);
    append_.set_op(Kernel::KV_APPEND);
    append_.set_kv_heads(h.kv_heads);
    append_.set_head_dim(h.dim);
    append_.set_cache(encoding);
    append_.set_value_dim(h.value_dim > 0 ? h.dim : 0);
    attend_ = append_;
    attend_.set_op(Kernel::ATTENTION);
    attend_.set_value_dim(h.value_dim);
    attend_.set_heads(h.heads);
    attend_.set_group(h.group);
    attend_.set_first_head(h.first_head);
    attend_.set_window(h.window);
    attend_.set_soft_cap(h.soft_cap);
    attend_.set_sinks(h.sinks);
    sinks_ = randomFloats(h.heads, 40, 4.0f);
    attend_.set_scale(1.0f / std::sqrt(static_cast<float>(h.dim)));
  }

  enum class Split { kNo, kYes, kThreads };

  /// One step: positions [begin[s], end[s]) of each sequence; `units` at a time (0: all). Returns the outputs of its tokens in order.
  std::vector<float> step(const std::vector<int64_t>& begin, const std::vector<int64_t>& end, int64_t units = 0, Split split = Split::kNo) {
    std::vector<float> q, k, v;
    std::vector<int32_t> positions, sequence, starts{0};
    for (size_t s = 0; s < begin.size(); ++s) {
      for (int64_t p = begin[s]; p < end[s]; ++p) {
        positions.push_back(static_cast<int32_t>(p));
        sequence.push_back(static_cast<int32_t>(s));
      }
      append(q, q_[s], h_.heads, begin[s], end[s]);
      append(k, k_[s], h_.kv_heads, begin[s], end[s]);
      append(v, v_[s], h_.kv_heads, begin[s], end[s]);
      starts.push_back(static_cast<int32_t>(positions.size()));
    }
    StepView view{.tokens = static_cast<int64_t>(positions.size()), .sequences = static_cast<int64_t>(begin.size()),
                  .positions = positions.data(), .sequence = sequence.data(), .page_table = table_.data(),
                  .page_table_stride = stride_, .sequence_begin = starts.data()};
    Memory mq = Memory::of(q), mk = Memory::of(k), mv = Memory::of(v), ms = Memory::of(sinks_), out(view.tokens * width() * 4);
    KernelArgs appends{.rows = view.tokens, .in = {mk.data(), mv.data(), cache_.data()}, .step = &view};
    if (h_.value_dim > 0) appends.in[1] = cache_.data();
    runKernel(isa_, append_, appends, units);
    EXPECT_TRUE(cache_.guardIntact());
    KernelArgs attends{.rows = view.tokens, .in = {mq.data(), cache_.data()}, .out = {out.data()}, .step = &view};
    if (h_.sinks) attends.in[2] = ms.data();
    if (split == Split::kNo) {
      runKernel(isa_, attend_, attends, units);
    } else {
      const int64_t chunks = *std::max_element(positions.begin(), positions.end()) / kAttentionChunk + 1;
      Memory partials(attentionPartialsBytes(attend_, view.tokens, chunks), 0xff), arrived(view.tokens * attentionGroups(attend_) * 4, 0);
      view.split = {chunks, partials.data(), reinterpret_cast<int32_t*>(arrived.data())};
      split == Split::kYes ? runInParts(attends, units) : runOnThreads(attends, units);
      EXPECT_TRUE(partials.guardIntact() && arrived.guardIntact());
      EXPECT_EQ(arrived.as<int32_t>(), std::vector<int32_t>(view.tokens * attentionGroups(attend_), 0)) << "the next call counts from zero";
    }
    EXPECT_TRUE(out.guardIntact());
    return out.as<float>();
  }

  /// Attention of one position in double.
  std::vector<double> expected(size_t s, int64_t position) const {
    std::vector<double> out(width(), 0.0);
    const std::vector<float>& values = h_.value_dim > 0 ? k_[s] : v_[s];
    const int64_t first = h_.window ? std::max<int64_t>(0, position - h_.window + 1) : 0;
    for (int64_t head = 0; head < h_.heads; ++head) {
      const int64_t kv = (head + h_.first_head) / h_.group;
      const float* q = &q_[s][(position * h_.heads + head) * h_.dim];
      std::vector<double> weights;
      double sum = 0, peak = -1e300;
      for (int64_t j = first; j <= position; ++j) {
        double dot = 0;
        for (int64_t d = 0; d < h_.dim; ++d) dot += static_cast<double>(q[d]) * stored(k_[s][(j * h_.kv_heads + kv) * h_.dim + d]);
        weights.push_back(dot / std::sqrt(static_cast<double>(h_.dim)));
        if (h_.soft_cap > 0) weights.back() = h_.soft_cap * std::tanh(weights.back() / h_.soft_cap);
        peak = std::max(peak, weights.back());
      }
      if (h_.sinks) sum = std::exp(sinks_[head] - peak);
      for (double& w : weights) sum += w = std::exp(w - peak);
      for (int64_t j = first; j <= position; ++j) {
        for (int64_t d = 0; d < h_.outDim(); ++d) {
          out[head * h_.outDim() + d] += weights[j - first] / sum * stored(values[(j * h_.kv_heads + kv) * h_.dim + d]);
        }
      }
    }
    return out;
  }

  std::vector<int64_t> lengths() const { return lengths_; }
  int64_t width() const { return h_.heads * h_.outDim(); }

 private:
  /// The parts of several threads, last one first: who arrives last folds.
  void runInParts(const KernelArgs& args, int64_t part) {
    const bool emulated = emulator::emulates(isa_);
    const CompiledKernel compiled = compileFor(emulated ? Isa::kGeneric : isa_, attend_);
    const int64_t all = workUnits(attend_, args.rows, args.step->split.chunks);
    if (part == 0) part = all;
    for (int64_t begin = (all - 1) / part * part; begin >= 0; begin -= part) {
      Memory scratch(static_cast<int64_t>(compiled.scratch_bytes));
      const int64_t end = std::min(all, begin + part);
      if (emulated) emulator::run(attend_, isa_, args, begin, end, scratch.data());
      else compiled.function(&args, begin, end, scratch.data());
      EXPECT_TRUE(scratch.guardIntact()) << "scratch overrun";
    }
  }

  /// As many threads as there are parts.
  void runOnThreads(const KernelArgs& args, int64_t part) {
    const CompiledKernel compiled = compileFor(isa_, attend_);
    const int64_t all = workUnits(attend_, args.rows, args.step->split.chunks);
    std::vector<std::jthread> threads;
    for (int64_t begin = 0; begin < all; begin += part) {
      threads.emplace_back([&args, compiled, begin, end = std::min(all, begin + part)] {
        Memory scratch(static_cast<int64_t>(compiled.scratch_bytes));
        compiled.function(&args, begin, end, scratch.data());
      });
    }
  }

  double stored(float value) const { return append_.cache() == program::F16 ? fromHalf(toHalf(value)) : value; }
  void append(std::vector<float>& to, const std::vector<float>& from, int64_t heads, int64_t begin, int64_t end) const {
    to.insert(to.end(), from.begin() + begin * heads * h_.dim, from.begin() + end * heads * h_.dim);
  }

  Isa isa_;
  Heads h_;
  std::vector<int64_t> lengths_;
  std::vector<std::vector<float>> q_, k_, v_;
  std::vector<float> sinks_;  // [heads]
  std::vector<int32_t> table_;
  int64_t stride_ = 0;
  Memory cache_;
  Kernel append_, attend_;
};

class Attention : public testing::TestWithParam<std::tuple<Isa, Encoding>> {
 protected:
  /// Everything in one step equals the reference, and equals token by token bit for bit.
  void check(Heads h, std::vector<int64_t> lengths) {
    const auto [isa, encoding] = GetParam();
    SCOPED_TRACE(testing::Message() << "heads " << h.heads << " kv " << h.kv_heads << " group " << h.group << " from " << h.first_head
                                    << " dim " << h.dim << " window " << h.window);
    World whole(isa, encoding, h, lengths);
    const std::vector<float> got = whole.step(std::vector<int64_t>(lengths.size(), 0), lengths);
    std::vector<double> expected;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t p = 0; p < lengths[s]; ++p) {
        const std::vector<double> one = whole.expected(s, p);
        expected.insert(expected.end(), one.begin(), one.end());
      }
    }
    EXPECT_LE(relativeRms(got, expected), 3e-6);
    if (!emulator::emulates(isa)) compareWithSingleSteps(h, lengths, got);  // thousands of calls
    World pieces(isa, encoding, h, lengths);
    EXPECT_EQ(pieces.step(std::vector<int64_t>(lengths.size(), 0), lengths, 3), got) << "division over threads shows";
  }

  void compareWithSingleSteps(Heads h, const std::vector<int64_t>& lengths, const std::vector<float>& got) {
    const auto [isa, encoding] = GetParam();
    World single(isa, encoding, h, lengths);
    int64_t row = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t p = 0; p < lengths[s]; ++p, ++row) {
        std::vector<int64_t> begin(lengths.size(), 0), end(lengths.size(), 0);
        begin[s] = p;
        end[s] = p + 1;
        const std::vector<float> one = single.step(begin, end);
        ASSERT_EQ(std::memcmp(one.data(), &got[row * single.width()], one.size() * 4), 0) << "sequence " << s << " position " << p;
      }
    }
  }
};

TEST_P(Attention, HeadDimensions) {
  for (int64_t dim : {1, 8, 16, 20, 48, 64, 127, 256}) check({2, 2, 1, 0, dim}, {70});
}
TEST_P(Attention, Groups) {
  check({3, 1, 3, 0, 16}, {67});
  check({4, 2, 2, 0, 16}, {67});
  check({8, 1, 8, 0, 24}, {130});
  check({11, 1, 11, 0, 8}, {65});
  check({14, 2, 7, 0, 8}, {20});
}
TEST_P(Attention, HeadsThatStartInsideAGroup) {
  check({3, 2, 4, 3, 16}, {66});  // one head of the first KV head, two of the second
  check({1, 1, 4, 2, 16}, {66});
}
TEST_P(Attention, Windows) {
  for (int64_t window : {1, 5, 64, 65, 100}) check({2, 1, 2, 0, 16, window}, {200});
}
TEST_P(Attention, SoftCap) {
  for (int64_t window : {0, 30}) check({2, 1, 2, 0, 16, window, 0.5f}, {70});
}
/// A single position has a softmax over itself and the sink; heads that start inside a group have sinks of their own.
TEST_P(Attention, Sinks) {
  for (int64_t window : {0, 1, 30}) check({3, 2, 4, 3, 16, window, 0, true}, {70, 1});
}
/// Odd numbers of heads, dims that are no multiples of a vector, values that are all of a key or one element of it.
TEST_P(Attention, Latent) {
  for (auto [heads, dim, value_dim] : {std::tuple{1, 1, 1}, {3, 20, 16}, {4, 80, 64}, {5, 33, 17}, {17, 24, 24}, {37, 10, 1}})
    check({heads, 1, heads, 0, dim, 0, 0, false, value_dim}, {70, 5});
  check({3, 1, 7, 2, 48, 40, 0.5f, true, 32}, {130});  // heads 2, 3 and 4 of seven
}
TEST_P(Attention, SeveralSequences) { check({4, 2, 2, 0, 32}, {5, 64, 1, 129}); }

TEST_P(Attention, ChunkedPrefillIsTheSame) {
  const auto [isa, encoding] = GetParam();
  const Heads h{4, 2, 2, 0, 32};
  World whole(isa, encoding, h, {150});
  const auto expected = whole.step({0}, {150});
  World chunked(isa, encoding, h, {150});
  std::vector<float> got;
  for (int64_t begin = 0; begin < 150; begin += 37) {
    const auto part = chunked.step({begin}, {std::min<int64_t>(150, begin + 37)});
    got.insert(got.end(), part.begin(), part.end());
  }
  EXPECT_EQ(got, expected);
}

/// Contexts of several chunks, their borders among them; heads in more tiles than one; windows that begin inside a chunk.
TEST_P(Attention, SplitOverPositionsIsTheSame) {
  const auto [isa, encoding] = GetParam();
  for (const Heads& h : {Heads{2, 2, 1, 0, 32}, Heads{8, 1, 8, 0, 16}, Heads{3, 2, 4, 3, 16}, Heads{19, 1, 19, 0, 8}, Heads{2, 1, 2, 0, 16, 600},
                         Heads{1, 1, 1, 0, 16, 40}, Heads{4, 2, 2, 0, 16, 0, 0, true}, Heads{19, 1, 19, 0, 24, 0, 0, true, 16}}) {
    SCOPED_TRACE(testing::Message() << "heads " << h.heads << " group " << h.group << " dim " << h.dim << " window " << h.window);
    if (emulator::emulates(isa) && h.heads > 8) continue;  // minutes
    const std::vector<int64_t> lengths{2 * kAttentionChunk + 1, 3 * kAttentionChunk + 70, 9, kAttentionChunk};
    World world(isa, encoding, h, lengths);
    std::vector<int64_t> begin;
    for (int64_t length : lengths) begin.push_back(length - 1);
    begin[1] -= 2;  // three rows of one sequence
    const std::vector<float> prefill = World(isa, encoding, h, lengths).step(std::vector<int64_t>(lengths.size(), 0), lengths);
    world.step(std::vector<int64_t>(lengths.size(), 0), begin);
    const std::vector<float> whole = world.step(begin, lengths);
    std::vector<float> of_prefill;
    int64_t first_row = 0;
    for (size_t s = 0; s < lengths.size(); first_row += lengths[s++]) {
      of_prefill.insert(of_prefill.end(), prefill.begin() + (first_row + begin[s]) * world.width(), prefill.begin() + (first_row + lengths[s]) * world.width());
    }
    EXPECT_EQ(whole, of_prefill) << "rows of a prefill in one step";
    std::vector<double> expected;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t p = begin[s]; p < lengths[s]; ++p) {
        const std::vector<double> one = world.expected(s, p);
        expected.insert(expected.end(), one.begin(), one.end());
      }
    }
    EXPECT_LE(relativeRms(whole, expected), 3e-6);
    for (int64_t units : {0, 1, 3, 7}) {
      EXPECT_EQ(world.step(begin, lengths, units, World::Split::kYes), whole) << units << " units at a time";
    }
  }
}

/// Several threads at once, many times: the counters hand every row to exactly one of them.
TEST_P(Attention, ThreadsThatSplitOneRow) {
  const auto [isa, encoding] = GetParam();
  if (emulator::emulates(isa)) GTEST_SKIP() << "the emulator runs one kernel at a time";
  World world(isa, encoding, {4, 2, 2, 0, 16}, {4 * kAttentionChunk});
  world.step({0}, {4 * kAttentionChunk - 1});
  const std::vector<float> whole = world.step({4 * kAttentionChunk - 1}, {4 * kAttentionChunk});
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(world.step({4 * kAttentionChunk - 1}, {4 * kAttentionChunk}, 1, World::Split::kThreads), whole) << "round " << round;
  }
}

INSTANTIATE_TEST_SUITE_P(Host, Attention, testing::Combine(testing::ValuesIn(testedIsas()), testing::Values(program::F32, program::F16)),
                         [](const auto& info) {
                           std::string text = std::string(name(std::get<0>(info.param))) + "_" + program::Encoding_Name(std::get<1>(info.param));
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

}  // namespace
}  // namespace exo::codegen
