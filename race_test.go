//go:build race

package usertcp

const raceEnabled = true
