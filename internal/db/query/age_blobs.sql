DELETE FROM fleet.blobs b WHERE NOT EXISTS (SELECT FROM fleet.publication_pages p WHERE p.page = b.sha256)
	AND NOT EXISTS (SELECT FROM fleet.page_files f WHERE f.file = b.sha256)
