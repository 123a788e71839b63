DELETE FROM fleet.page_files f WHERE NOT EXISTS (SELECT FROM fleet.publication_pages p WHERE p.page = f.page)
