#include "launch/coordinator/job_compat.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "tests/launch/coordinator/fake_cluster.h"

namespace cairn::launch {
namespace {

using testing::FakeJob;
using ::testing::HasSubstr;

TEST(CheckCompatible, TellsTheFirstDifference) {
  using Change = std::function<void(proto::JobConfig&)>;
  const std::vector<std::pair<std::string, Change>> changes = {
      {"seed: 2026 -> 7", [](auto& job) { job.set_seed(7); }},
      {"table[0].dim: 2 -> 4", [](auto& job) { job.mutable_table(0)->set_dim(4); }},
      {"table[0].optimizer",
       [](auto& job) { job.mutable_table(0)->mutable_optimizer()->mutable_sgd(); }},
      {"table[1]", [](auto& job) { job.add_table()->set_name("more"); }},
      {"feature[0].name", [](auto& job) { job.mutable_feature(0)->set_name("C2"); }},
      {"model.lr", [](auto& job) { job.mutable_model()->mutable_dlf(); }},
      {"data.window_rows: 32 -> 64", [](auto& job) { job.mutable_data()->set_window_rows(64); }},
      {"data.label", [](auto& job) { job.mutable_data()->set_label("click"); }},
      {"dense.l2", [](auto& job) { job.mutable_dense()->set_l2(1); }},
  };
  for (const auto& [expected, change] : changes) {
    proto::JobConfig job = FakeJob();
    change(job);
    const Status status = CheckCompatible(FakeJob(), job);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << expected;
    EXPECT_THAT(std::string(status.message()), HasSubstr(expected));
  }
}

TEST(CheckCompatible, PathsScheduleAndCheckpointsMayDiffer) {
  proto::JobConfig job = FakeJob();
  job.set_name("renamed");
  job.mutable_data()->set_train(0, "elsewhere.csv");
  job.mutable_data()->add_valid("more.csv");
  job.mutable_data()->set_bad_row(proto::DataConfig::SKIP);
  job.mutable_train()->set_epochs(50);
  job.mutable_train()->set_batch_size(8);
  job.mutable_checkpoint()->set_keep(9);
  EXPECT_TRUE(CheckCompatible(FakeJob(), job).ok()) << CheckCompatible(FakeJob(), job);
}

TEST(CheckCompatible, ADefaultThatIsWrittenOutIsNoDifference) {
  proto::JobConfig job = FakeJob();
  job.set_seed(2026);
  job.mutable_data()->set_label("label");
  EXPECT_TRUE(CheckCompatible(FakeJob(), job).ok()) << CheckCompatible(FakeJob(), job);
}

}  // namespace
}  // namespace cairn::launch
