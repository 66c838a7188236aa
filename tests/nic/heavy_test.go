package nic_test

import "os"

// heavyEnv asks for the long forms of the tests (make nic).
const heavyEnv = "USERTCP_NIC"

// heavy is by how much some tests are longer then.
var heavy = map[bool]int{false: 1, true: 10}[os.Getenv(heavyEnv) != ""]
