package sim

import (
	"flag"
	"testing"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed")
	seedCount = flag.Uint64("seeds", 2000, "how many seeds TestSeeds runs")
)

func TestSeeds(t *testing.T) {
	var sum Result
	for seed := *firstSeed; seed < *firstSeed+*seedCount; seed++ {
		r, err := Run(seed, Options{})
		if err != nil {
			t.Error(err)
		}
		sum.Packets += r.Packets
		sum.Octets += r.Octets
		sum.Failed += r.Failed
		sum.Repairs += r.Repairs
		sum.Virtual += r.Virtual
	}
	t.Logf("%d seeds: %+v", *seedCount, sum)
}
