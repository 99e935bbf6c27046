// KV_APPEND and ATTENTION over paged caches, against softmax in double; chunked prefill equals one token at a time bit for bit.
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Encoding;
using program::Kernel;

struct Heads {
  int64_t heads, kv_heads, group, first_head, dim;
  int64_t window = 0;
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
    cache_ = Memory(cacheBytes(encoding, pages, h.kv_heads, h.dim, h.dim), 0xff);
    append_.set_op(Kernel::KV_APPEND);
    append_.set_kv_heads(h.kv_heads);
    append_.set_head_dim(h.dim);
    append_.set_cache(encoding);
    attend_ = append_;
    attend_.set_op(Kernel::ATTENTION);
    attend_.set_heads(h.heads);
    attend_.set_group(h.group);
    attend_.set_first_head(h.first_head);
    attend_.set_window(h.window);
    attend_.set_scale(1.0f / std::sqrt(static_cast<float>(h.dim)));
  }

  /// One step: positions [begin[s], end[s]) of each sequence. Returns the outputs of its tokens in order.
  std::vector<float> step(const std::vector<int64_t>& begin, const std::vector<int64_t>& end, int64_t chunk = 0) {
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
    const StepView view{static_cast<int64_t>(positions.size()), static_cast<int64_t>(begin.size()), positions.data(), sequence.data(),
                        table_.data(), stride_, starts.data()};
    Memory mq = Memory::of(q), mk = Memory::of(k), mv = Memory::of(v), out(static_cast<int64_t>(q.size()) * 4);
    KernelArgs appends{.rows = view.tokens, .in = {mk.data(), mv.data(), cache_.data()}, .step = &view};
    runKernel(isa_, append_, appends, chunk);
    EXPECT_TRUE(cache_.guardIntact());
    KernelArgs attends{.rows = view.tokens, .in = {mq.data(), cache_.data()}, .out = {out.data()}, .step = &view};
    runKernel(isa_, attend_, attends, chunk);
    EXPECT_TRUE(out.guardIntact());
    return out.as<float>();
  }

  /// Attention of one position in double.
  std::vector<double> expected(size_t s, int64_t position) const {
    std::vector<double> out(h_.heads * h_.dim, 0.0);
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
        peak = std::max(peak, weights.back());
      }
      for (double& w : weights) sum += w = std::exp(w - peak);
      for (int64_t j = first; j <= position; ++j) {
        for (int64_t d = 0; d < h_.dim; ++d) {
          out[head * h_.dim + d] += weights[j - first] / sum * stored(v_[s][(j * h_.kv_heads + kv) * h_.dim + d]);
        }
      }
    }
    return out;
  }

  std::vector<int64_t> lengths() const { return lengths_; }
  int64_t width() const { return h_.heads * h_.dim; }

 private:
  double stored(float value) const { return append_.cache() == program::F16 ? fromHalf(toHalf(value)) : value; }
  void append(std::vector<float>& to, const std::vector<float>& from, int64_t heads, int64_t begin, int64_t end) const {
    to.insert(to.end(), from.begin() + begin * heads * h_.dim, from.begin() + end * heads * h_.dim);
  }

  Isa isa_;
  Heads h_;
  std::vector<int64_t> lengths_;
  std::vector<std::vector<float>> q_, k_, v_;
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

INSTANTIATE_TEST_SUITE_P(Host, Attention, testing::Combine(testing::ValuesIn(testedIsas()), testing::Values(program::F32, program::F16)),
                         [](const auto& info) {
                           std::string text = std::string(name(std::get<0>(info.param))) + "_" + program::Encoding_Name(std::get<1>(info.param));
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

}  // namespace
}  // namespace exo::codegen
