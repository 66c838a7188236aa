// Package nic is the driver that joins a pool to the host's own network
// devices: frames with virtio headers over the descriptor of a TAP device that
// the connection server has made (design 7). Application and child have the
// same descriptor, and are one circuit's two users. What a frame carries does not
// matter here beyond where its headers end; devices, routes and demultiplexing
// are the server's (package internal/nic). Neither belongs here.
package nic
