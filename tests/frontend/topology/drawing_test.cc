#include "frontend/topology/drawing.h"

#include <gtest/gtest.h>

#include "frontend/topology/topology.h"

namespace exo {
namespace {

constexpr const char* kThree = R"({"nodes": [
  {"name": "desk", "address": "10.0.0.2:1", "cores": 16, "memory_gib": 64, "read_gb_per_s": 80.5, "read_by_threads": [[1, 21.5], [16, 80.5]]},
  {"name": "box", "address": "10.0.0.2:2"}, {"name": "a<b", "address": "10.0.0.3:1"}],
 "links": [{"between": ["box", "desk"], "transport": "tcp", "latency_us": 12, "bandwidth_gbit_per_s": 40},
           {"between": ["desk", "box"], "transport": "shm", "latency_us": 0.8, "bandwidth_gbit_per_s": 90, "barrier_us": 1.5, "curve": [[64, 0.8], [65536, 9]]},
           {"between": ["desk", "a<b"], "transport": "tcp", "latency_us": 30, "bandwidth_gbit_per_s": 9.4}],
 "collectives": [{"operation": "all_reduce", "group": ["desk", "box", "a<b"], "barrier_us": 40,
                  "steps": [{"algorithm": "one-shot", "up_to_bytes": 65536}, {"algorithm": "hierarchical"}],
                  "timings": [{"bytes": 65536, "one-shot": 150, "two-shot": 160}, {"bytes": 1048576, "one-shot": 2000, "hierarchical": 1250}]}]})";

Topology three() { return parseTopology(kThree, "t").value(); }

void expectContains(const std::string& text, const std::string& part) { EXPECT_NE(text.find(part), std::string::npos) << part << "\nin:\n" << text; }

TEST(Drawing, TextShowsNodesPairsLinksAndAlgorithms) {
  EXPECT_EQ(drawText(three()), R"(  node     address  cores  memory GiB  read GB/s  int8 GOP/s  f32 GFLOP/s  read GB/s by threads
  desk  10.0.0.2:1     16        64.0       80.5           -            -     1: 21.5  16: 80.5
  box   10.0.0.2:2      -           -          -           -            -                     -
  a<b   10.0.0.3:1      -           -          -           -            -                     -

Quickest link of each pair: above the diagonal latency and transport, below bandwidth
               desk          box          a<b
  desk            .  0.80 us shm  30.0 us tcp
  box   90.0 Gbit/s            .            ?
  a<b   9.40 Gbit/s            ?            .

Links: us of one message by size, and of a barrier of the two
  between     over  Gbit/s  barrier  64 B  64 KiB
  box - desk   tcp    40.0        -     -       -
  desk - box   shm    90.0     1.50  0.80    9.00
  desk - a<b   tcp    9.40        -     -       -

all_reduce of desk, box, a<b: one-shot up to 64 KiB, hierarchical above
  a barrier takes 40.0 us
  us      one-shot  two-shot  chain  hierarchical
  64 KiB      150*      160      -             -
  1 MiB      2000         -      -          1250*
)");
}

TEST(Drawing, DotPutsNodesOfOneMachineIntoABox) {
  const std::string dot = drawDot(three());
  expectContains(dot, "subgraph cluster_0 { label=\"10.0.0.2\";\n    \"desk\" [label=\"desk\\n10.0.0.2:1\\nread 80.5 GB/s\\n64.0 GiB\"];\n    \"box\"");
  expectContains(dot, "subgraph cluster_1 { label=\"10.0.0.3\"");
  expectContains(dot, "\"desk\" -- \"box\" [label=\"shm 0.80 us, 90.0 Gbit/s\"]");
  EXPECT_EQ(dot.find("tcp 12.0"), std::string::npos) << "only the quickest link of a pair";
  expectContains(dot, "// all_reduce of desk, box, a<b: one-shot up to 64 KiB, hierarchical above");
}

TEST(Drawing, SvgIsWellFormed) {
  const std::string svg = drawSvg(three());
  EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"));
  expectContains(svg, ">shm 0.80 us, 90.0 Gbit/s</text>");
  expectContains(svg, ">a&lt;b</text>");
  EXPECT_EQ(svg.find("a<b"), std::string::npos);
  expectContains(drawSvg(loopbackTopology(1)), ">n0</text>");
}

TEST(Drawing, OfNothingMeasured) {
  EXPECT_EQ(drawText(loopbackTopology(1)), "  node      address  cores  memory GiB  read GB/s  int8 GOP/s  f32 GFLOP/s  read GB/s by threads\n"
                                           "  n0    127.0.0.1:0      -           -          -           -            -                     -\n");
  EXPECT_FALSE(parseDrawing("png").ok());
}

}  // namespace
}  // namespace exo
