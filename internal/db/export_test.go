package db

// Direct is for tests.
var Direct = direct
