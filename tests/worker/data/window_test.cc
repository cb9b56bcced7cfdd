// Windows and batches: every row once, wherever the boundaries are.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "tests/worker/data/data_fixture.h"

namespace cairn::worker {
namespace {

class Windows : public DataFixture {
 protected:
  // Row i of the split has b = i; the rows are spread over files of the given sizes.
  std::string WriteRows(const std::vector<int>& rows_of_file, const std::string& stem = "t") {
    int row = 0;
    for (std::size_t f = 0; f < rows_of_file.size(); ++f) {
      std::string text = "label,a,b\n";
      for (int i = 0; i < rows_of_file[f]; ++i, ++row)
        StrAppend(text, row % 2, ",k", row % 5, ",", row, i % 3 == 0 ? "\n\n" : "\n");
      Write(StrCat(stem, f, ".csv"), text);
    }
    return Path(StrCat(stem, "*.csv"));
  }
  static proto::JobConfig WindowJob(const std::string& pattern, int window_rows, bool shuffle) {
    proto::JobConfig job = SmallJob(pattern, StrCat("window_rows: ", window_rows));
    job.mutable_data()->set_shuffle(shuffle);
    return job;
  }
  // b of the rows [begin, end) of the open window.
  static std::vector<int> Rows(Dataset& dataset, std::uint64_t begin, std::uint64_t end) {
    Batch batch;
    std::uint64_t bad = 0;
    const Status status = dataset.ReadBatch(begin, end, &batch, &bad);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(batch.labels.size(), batch.rows);
    std::vector<int> rows(batch.fields[1].number.begin(), batch.fields[1].number.end());
    for (std::size_t i = 0; i < rows.size(); ++i)
      EXPECT_EQ(batch.labels[i], static_cast<float>(rows[i] % 2));
    return rows;
  }
  static std::vector<int> Open(Dataset& dataset, std::uint64_t epoch, std::uint64_t window) {
    const auto info = dataset.OpenWindow(epoch, window);
    EXPECT_TRUE(info.ok()) << info.status();
    return Rows(dataset, 0, info->rows);
  }
};

TEST_F(Windows, EveryRowOnceForEveryWindowAndBatchSize) {
  const std::string pattern = WriteRows({5, 1, 7});
  constexpr int kRows = 13;
  for (int window_rows = 1; window_rows <= kRows + 2; ++window_rows) {
    for (int batch_rows = 1; batch_rows <= window_rows + 1; ++batch_rows) {
      auto dataset = MakeOrDie(WindowJob(pattern, window_rows, false));
      std::vector<int> seen;
      for (std::uint64_t window = 0;; ++window) {
        const WindowInfo info = *dataset->OpenWindow(0, window);
        const int left = kRows - static_cast<int>(window) * window_rows;
        ASSERT_EQ(info.rows, static_cast<std::uint64_t>(std::min(left, window_rows)));
        ASSERT_EQ(info.last, left <= window_rows) << "window " << window << " of " << window_rows;
        for (std::uint64_t begin = 0; begin < info.rows;
             begin += static_cast<std::uint64_t>(batch_rows)) {
          const auto rows = Rows(*dataset, begin, begin + static_cast<std::uint64_t>(batch_rows));
          seen.insert(seen.end(), rows.begin(), rows.end());
        }
        if (info.last) break;
      }
      std::vector<int> all(kRows);
      std::iota(all.begin(), all.end(), 0);
      ASSERT_EQ(seen, all) << window_rows << " " << batch_rows;
    }
  }
}

TEST_F(Windows, LastIsRightWhenOnlyBlankLinesFollow) {
  Write("t.csv", "label,a,b\n0,x,0\n1,x,1\n\n\r\n\n");
  auto dataset = MakeOrDie(WindowJob(Path("t.csv"), 2, false));
  EXPECT_TRUE(dataset->OpenWindow(0, 0)->last);
}

TEST_F(Windows, BeyondTheDataThereIsNothing) {
  auto dataset = MakeOrDie(WindowJob(WriteRows({6}), 3, true));
  EXPECT_EQ(Open(*dataset, 0, 0).size(), 3u);
  for (const std::uint64_t window : {2u, 3u, 1000u}) {
    const WindowInfo info = *dataset->OpenWindow(0, window);
    EXPECT_EQ(info.rows, 0u);
    EXPECT_TRUE(info.last);
    EXPECT_TRUE(Rows(*dataset, 0, 10).empty());
  }
  EXPECT_EQ(Open(*dataset, 0, 1).size(), 3u);
  EXPECT_TRUE(Rows(*dataset, 3, 7).empty());
  EXPECT_TRUE(Rows(*dataset, 2, 1).empty());
  EXPECT_EQ(Rows(*dataset, 2, 7).size(), 1u);
}

TEST_F(Windows, AnyOrderOfOpeningGivesTheSameRows) {
  const proto::JobConfig job = WindowJob(WriteRows({4, 4, 3}), 2, true);
  std::vector<std::vector<int>> expected;
  for (std::uint64_t window = 0; window < 6; ++window)
    expected.push_back(Open(*MakeOrDie(job), 3, window));
  auto dataset = MakeOrDie(job);
  for (const std::uint64_t window : {5, 0, 3, 3, 1, 2, 9, 4, 5, 9, 5, 0, 0})
    EXPECT_EQ(Open(*dataset, 3, window), window < 6 ? expected[window] : std::vector<int>());
}

TEST_F(Windows, ShuffleIsAPermutationThatDependsOnSeedEpochAndWindow) {
  const std::string pattern = WriteRows({150, 150, 300});
  proto::JobConfig job = WindowJob(pattern, 300, true);
  auto dataset = MakeOrDie(job);
  const std::vector<int> first = Open(*dataset, 0, 0);
  std::vector<int> sorted = first;
  std::ranges::sort(sorted);
  std::vector<int> all(300);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);
  EXPECT_NE(first, all);
  std::vector<int> second = Open(*dataset, 0, 1);
  for (int& row : second) row -= 300;
  EXPECT_NE(second, first);
  EXPECT_NE(Open(*dataset, 1, 0), first);
  EXPECT_EQ(Open(*dataset, 0, 0), first);
  EXPECT_EQ(Open(*MakeOrDie(job), 0, 0), first);
  job.set_seed(job.seed() + 1);
  EXPECT_NE(Open(*MakeOrDie(job), 0, 0), first);
  EXPECT_EQ(Open(*MakeOrDie(job, proto::VALID), 0, 0), all) << "only training data is shuffled";
}

TEST_F(Windows, ShuffleIsUniform) {
  auto dataset = MakeOrDie(WindowJob(WriteRows({4}), 4, true));
  std::vector<int> counts(256);
  constexpr int kRounds = 24000;
  for (std::uint64_t epoch = 0; epoch < kRounds; ++epoch) {
    std::size_t code = 0;
    for (const int row : Open(*dataset, epoch, 0)) code = 4 * code + static_cast<std::size_t>(row);
    ++counts[code];
  }
  double chi2 = 0;
  int orders = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    ++orders;
    chi2 += (count - kRounds / 24.) * (count - kRounds / 24.) / (kRounds / 24.);
  }
  EXPECT_EQ(orders, 24);
  EXPECT_LT(chi2, 60) << "23 degrees of freedom: 60 is beyond 1 in 10,000";
}

TEST_F(Windows, ASetOfOneWindowIsReadOnce) {
  const std::string pattern = WriteRows({10});
  auto dataset = MakeOrDie(WindowJob(pattern, 10, true));
  std::vector<int> first = Open(*dataset, 0, 0);
  std::filesystem::remove(Path("t0.csv"));
  std::vector<int> second = Open(*dataset, 1, 0);
  std::ranges::sort(first);
  std::ranges::sort(second);
  EXPECT_EQ(first, second);
}

TEST_F(Windows, AFileThatVanishesIsAnErrorAndTheNextOpenStartsAfresh) {
  const std::string pattern = WriteRows({4, 4});
  auto dataset = MakeOrDie(WindowJob(pattern, 2, false));
  ASSERT_EQ(Open(*dataset, 0, 0).size(), 2u);
  std::filesystem::rename(Path("t1.csv"), Path("hidden"));
  EXPECT_EQ(dataset->OpenWindow(0, 2).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Rows(*dataset, 0, 2).empty());
  std::filesystem::rename(Path("hidden"), Path("t1.csv"));
  EXPECT_THAT(Open(*dataset, 0, 2), testing::ElementsAre(4, 5));
}

TEST_F(Windows, OriginNamesTheFileAndLineOfTheFirstRow) {
  Write("t0.csv", "label,a,b\n0,x,0\n\n1,\"x\ny\",1\n0,x,2\n");
  Write("t1.csv", "label,a,b\n1,x,3\n");
  auto dataset = MakeOrDie(WindowJob(Path("t*.csv"), 100, false));
  ASSERT_TRUE(dataset->OpenWindow(0, 0).ok());
  const std::vector<std::pair<std::string, std::uint64_t>> expected = {
      {Path("t0.csv"), 2}, {Path("t0.csv"), 4}, {Path("t0.csv"), 6}, {Path("t1.csv"), 2}};
  for (std::uint64_t row = 0; row < 4; ++row) {
    Batch batch;
    std::uint64_t bad = 0;
    ASSERT_TRUE(dataset->ReadBatch(row, row + 1, &batch, &bad).ok());
    EXPECT_EQ(std::pair(batch.origin.file, batch.origin.first_line), expected[row]);
  }
}

TEST_F(Windows, BatchMemoryIsReusedAndHoldsNothingOfTheBatchBefore) {
  auto dataset = MakeOrDie(WindowJob(WriteRows({20}), 20, false));
  ASSERT_TRUE(dataset->OpenWindow(0, 0).ok());
  Batch reused;
  std::uint64_t bad = 0;
  ASSERT_TRUE(dataset->ReadBatch(0, 20, &reused, &bad).ok());
  const float* memory = reused.fields[1].number.data();
  ASSERT_TRUE(dataset->ReadBatch(7, 10, &reused, &bad).ok());
  EXPECT_EQ(reused.fields[1].number.data(), memory);
  Batch fresh;
  ASSERT_TRUE(dataset->ReadBatch(7, 10, &fresh, &bad).ok());
  EXPECT_EQ(reused.rows, 3u);
  EXPECT_EQ(reused.labels, fresh.labels);
  EXPECT_EQ(reused.unique_keys, fresh.unique_keys);
  EXPECT_EQ(reused.fields[0].index, fresh.fields[0].index);
  EXPECT_EQ(reused.fields[1].number, fresh.fields[1].number);
}

TEST_F(Windows, HeldOutRowsAreTheOthersOfTraining) {
  constexpr int kRows = 4000;
  proto::JobConfig job = WindowJob(WriteRows({1, kRows - 11, 10}), 700, false);
  *job.mutable_data()->mutable_valid() = job.data().train();
  const auto all_of = [&](proto::DataSplit split) {
    auto dataset = Dataset::Make(job, split);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    std::vector<int> rows;
    for (std::uint64_t window = 0; window == 0 || !(*dataset)->OpenWindow(0, window - 1)->last;
         ++window) {
      const std::vector<int> more = Open(**dataset, 0, window);
      rows.insert(rows.end(), more.begin(), more.end());
    }
    return rows;
  };
  const std::vector<int> everything = all_of(proto::TRAIN);
  ASSERT_EQ(everything.size(), static_cast<std::size_t>(kRows));
  for (const double share : {0.05, 0.5}) {
    job.mutable_data()->set_holdout(share);
    const std::vector<int> train = all_of(proto::TRAIN), valid = all_of(proto::VALID);
    EXPECT_NEAR(static_cast<double>(valid.size()), share * kRows, 5 * std::sqrt(share * kRows));
    std::vector<int> both;
    std::ranges::merge(train, valid, std::back_inserter(both));
    EXPECT_EQ(both, everything);
    job.set_seed(job.seed() + 1);
    EXPECT_EQ(all_of(proto::VALID), valid) << "whatever the seed";
  }
  job.mutable_data()->set_holdout(1e-9);
  EXPECT_THAT(std::string(Dataset::Make(job, proto::VALID).status().message()),
              testing::HasSubstr("data.holdout"));
}

}  // namespace
}  // namespace cairn::worker
