// The jobs of launch/jobs over the public data sets, where $CAIRN_DATA holds them: rows and clicks
// are those of the files, counted by other means.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/config/config.h"
#include "common/math/hash.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/data/dataset.h"

namespace cairn::worker {
namespace {

struct Expected {
  const char* job;
  proto::DataSplit split;  // TRAIN: with the rows that are held out of it
  std::uint64_t rows;
  std::uint64_t clicks;
  std::size_t fields;
};

class RealData : public testing::TestWithParam<Expected> {};

// Sums over the whole split, read in batches.
struct Totals {
  std::uint64_t rows = 0;
  std::uint64_t clicks = 0;
  std::vector<std::uint64_t> values;  // [fields]: of categorical and sequence fields
};

void ReadSplit(Dataset& dataset, std::size_t fields, Totals* sums) {
  Totals& totals = *sums;
  totals.values.resize(fields);
  Batch batch;
  for (std::uint64_t window = 0;; ++window) {
    const auto info = dataset.OpenWindow(0, window);
    EXPECT_TRUE(info.ok()) << info.status();
    if (!info.ok()) return;
    for (std::uint64_t begin = 0; begin < info->rows; begin += 1000) {
      std::uint64_t bad = 0;
      const Status status = dataset.ReadBatch(begin, begin + 1000, &batch, &bad);
      EXPECT_TRUE(status.ok()) << status;
      if (!status.ok()) return;
      totals.rows += batch.rows;
      totals.clicks += static_cast<std::uint64_t>(std::ranges::count(batch.labels, 1.f));
      for (std::size_t f = 0; f < fields; ++f) totals.values[f] += batch.fields[f].index.size();
    }
    if (info->last) return;
  }
}

TEST_P(RealData, HasThePublishedRowsAndClicks) {
  const Expected& expected = GetParam();
  const auto job = LoadJob(expected.job, {});
  ASSERT_TRUE(job.ok()) << job.status();
  if (!std::filesystem::exists(job->data().train(0)))
    GTEST_SKIP() << job->data().train(0) << " is not there; set CAIRN_DATA";
  const std::vector<FieldSpec> specs = FieldSpecs(*job);
  ASSERT_EQ(specs.size(), expected.fields);
  std::vector<proto::DataSplit> splits = {expected.split};
  if (job->data().holdout() > 0 && expected.split == proto::TRAIN) splits.push_back(proto::VALID);
  Totals totals;
  for (const proto::DataSplit split : splits) {
    auto dataset = Dataset::Make(*job, split);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    ReadSplit(**dataset, specs.size(), &totals);
  }
  EXPECT_EQ(totals.rows, expected.rows);
  EXPECT_EQ(totals.clicks, expected.clicks);
  for (std::size_t f = 0; f < specs.size(); ++f) {
    if (specs[f].kind == FieldSpec::Kind::kCategorical) {
      EXPECT_EQ(totals.values[f], totals.rows) << specs[f].name;
    } else if (specs[f].kind == FieldSpec::Kind::kSequence) {
      EXPECT_GT(totals.values[f], 0u) << specs[f].name;
    }
  }
}

constexpr const char* kBook = "launch/jobs/dlf_book_crossing_kg.textproto";
constexpr const char* kCriteo = "launch/jobs/dlf_criteo_adkdd21.textproto";
constexpr const char* kAdult = "launch/jobs/dlf_adult.textproto";

// Half of the rows of each split are clicks. The jobs train on the published train and valid rows.
INSTANTIATE_TEST_SUITE_P(
    Amazon, RealData,
    testing::Values(
        Expected{"launch/jobs/din_amazon_beauty.textproto", proto::TRAIN, 92762, 46381, 7},
        Expected{"launch/jobs/din_amazon_clothing.textproto", proto::TEST, 4020, 2010, 7},
        Expected{"launch/jobs/din_amazon_digital_music.textproto", proto::TEST, 3318, 1659, 7},
        Expected{"launch/jobs/din_amazon_home_kitchen.textproto", proto::TEST, 23134, 11567, 7},
        Expected{"launch/jobs/din_amazon_office.textproto", proto::TEST, 3440, 1720, 7},
        Expected{"launch/jobs/din_amazon_toys.textproto", proto::TRAIN, 64178, 32089, 7},
        Expected{"launch/jobs/interformer_amazon_beauty.textproto", proto::TEST, 7566, 3783, 7},
        Expected{"launch/jobs/interformer_amazon_clothing.textproto", proto::TRAIN, 18274, 9137, 7},
        Expected{"launch/jobs/interformer_amazon_digital_music.textproto", proto::TRAIN, 50884,
                 25442, 7},
        Expected{"launch/jobs/interformer_amazon_home_kitchen.textproto", proto::TRAIN, 239752,
                 119876, 7},
        Expected{"launch/jobs/interformer_amazon_office.textproto", proto::TRAIN, 51894, 25947, 7},
        Expected{"launch/jobs/interformer_amazon_toys.textproto", proto::TEST, 5354, 2677, 7}));

// Each user has one review and one item that it did not review; events are not younger than the
// target and side by side.
TEST(AmazonHistories, AreAlignedAndOlderThanTheTarget) {
  const auto job = LoadJob("launch/jobs/din_amazon_beauty.textproto", {});
  ASSERT_TRUE(job.ok()) << job.status();
  if (!std::filesystem::exists(job->data().test(0)))
    GTEST_SKIP() << job->data().test(0) << " is not there; set CAIRN_DATA";
  const auto dataset = Dataset::Make(*job, proto::TEST);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ASSERT_TRUE((*dataset)->OpenWindow(0, 0).ok());
  Batch batch;
  std::uint64_t bad = 0;
  ASSERT_TRUE((*dataset)->ReadBatch(0, 7566, &batch, &bad).ok());
  ASSERT_EQ(batch.rows, 7566u);
  std::map<std::uint64_t, std::pair<int, int>> labels_of_user;
  for (std::size_t r = 0; r < batch.rows; ++r)
    ++(batch.labels[r] > 0 ? labels_of_user[batch.groups[r]].first
                           : labels_of_user[batch.groups[r]].second);
  EXPECT_EQ(labels_of_user.size(), 3783u);
  for (const auto& [user, labels] : labels_of_user) ASSERT_EQ(labels, (std::pair{1, 1}));
  const std::vector<FieldSpec> specs = FieldSpecs(*job);
  ASSERT_TRUE(specs[4].IsHistory() && specs[5].IsHistory() && specs[6].IsHistory());
  EXPECT_EQ(batch.fields[4].offsets, batch.fields[5].offsets);
  EXPECT_EQ(batch.fields[4].offsets, batch.fields[6].offsets);
  EXPECT_GT(batch.fields[4].offsets.back(), batch.rows);
  std::set<std::uint64_t> known;
  for (int bucket = 0; bucket < 14; ++bucket)
    known.insert(KeyOf(std::to_string(bucket), TableSalt("hist_age")));
  for (const std::uint64_t key : batch.unique_keys[static_cast<std::size_t>(specs[6].table)])
    EXPECT_EQ(known.count(key), 1u) << "an event is younger than the target";
}

INSTANTIATE_TEST_SUITE_P(PublicSets, RealData,
                         testing::Values(Expected{kBook, proto::TRAIN, 83848, 41793, 12},
                                         Expected{kBook, proto::VALID, 27949, 13983, 12},
                                         Expected{kBook, proto::TEST, 27949, 14097, 12},
                                         Expected{kCriteo, proto::TRAIN, 81947, 8161, 19},
                                         Expected{kCriteo, proto::VALID, 10243, 1027, 19},
                                         Expected{kCriteo, proto::TEST, 10244, 1001, 19},
                                         Expected{kAdult, proto::TRAIN, 32561, 7841, 17},
                                         Expected{kAdult, proto::TEST, 16281, 3846, 17}));

}  // namespace
}  // namespace cairn::worker
