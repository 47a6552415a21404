-- The library's sample data, put straight into the physical tables; safe to run twice.
-- Books go by branch, patrons by hash of patron_id (PostgreSQL's hash partitioning, modulus 3).

USE library_system;

INSERT INTO books_a
    (isbn, branch, book_name, author, genre, published_year, price, checked_out, patron_id, updated_at)
VALUES
    (9780451524935, 'downtown', '1984', 'George Orwell', 'Dystopia', 1949, 9.99, false, NULL, '2026-01-05 14:07:00+00'),
    (9780451526342, 'downtown', 'Animal Farm', 'George Orwell', 'Satire', 1945, 8.99, true, 1029, '2026-01-06 05:28:00+00'),
    (9781451673319, 'downtown', 'Fahrenheit 451', 'Ray Bradbury', 'Dystopia', 1953, 15.99, true, 1057, '2026-01-07 01:56:00+00'),
    (9780547928227, 'downtown', 'The Hobbit', 'J. R. R. Tolkien', 'Fantasy', 1937, 14.99, false, NULL, '2026-01-07 12:10:00+00'),
    (9780544003415, 'downtown', 'The Lord of the Rings', 'J. R. R. Tolkien', 'Fantasy', 1954, 30.00, true, 1025, '2026-01-07 22:24:00+00'),
    (9780547928197, 'downtown', 'The Return of the King', 'J. R. R. Tolkien', 'Fantasy', 1955, 14.99, true, 1053, '2026-01-08 18:52:00+00'),
    (9780439136365, 'downtown', 'Harry Potter and the Prisoner of Azkaban', 'J. K. Rowling', 'Fantasy', 1999, 14.99, false, NULL, '2026-01-09 10:13:00+00'),
    (9780553293357, 'downtown', 'Foundation', 'Isaac Asimov', 'Science Fiction', 1951, 8.99, false, NULL, '2026-01-10 01:34:00+00'),
    (9780345391803, 'downtown', 'The Hitchhiker''s Guide to the Galaxy', 'Douglas Adams', 'Science Fiction', 1979, 8.99, true, 1049, '2026-01-10 11:48:00+00'),
    (9780812550702, 'downtown', 'Ender''s Game', 'Orson Scott Card', 'Science Fiction', 1985, 9.99, true, 1017, '2026-01-11 08:16:00+00'),
    (9780061120084, 'downtown', 'To Kill a Mockingbird', 'Harper Lee', 'Classic', 1960, 17.99, false, NULL, '2026-01-11 13:23:00+00'),
    (9780143039433, 'downtown', 'The Grapes of Wrath', 'John Steinbeck', 'Classic', 1939, 20.00, false, NULL, '2026-01-12 09:51:00+00'),
    (9780385333849, 'downtown', 'Slaughterhouse-Five', 'Kurt Vonnegut', 'Satire', 1969, 18.00, true, 1013, '2026-01-13 01:12:00+00'),
    (9780141441146, 'downtown', 'Jane Eyre', 'Charlotte Brontë', 'Classic', 1847, 11.00, true, 1041, '2026-01-13 21:40:00+00'),
    (9780141439846, 'downtown', 'Dracula', 'Bram Stoker', 'Horror', 1897, 11.00, false, NULL, '2026-01-14 13:01:00+00'),
    (9780141439563, 'downtown', 'Great Expectations', 'Charles Dickens', 'Classic', 1861, 11.00, false, NULL, '2026-01-15 04:22:00+00'),
    (9780140449136, 'downtown', 'Crime and Punishment', 'Fyodor Dostoevsky', 'Classic', 1866, 17.00, false, NULL, '2026-01-15 19:43:00+00'),
    (9781400079988, 'downtown', 'War and Peace', 'Leo Tolstoy', 'Classic', 1869, 24.00, true, 1005, '2026-01-16 11:04:00+00'),
    (9780060934347, 'downtown', 'Don Quixote', 'Miguel de Cervantes', 'Classic', 1605, 19.99, false, NULL, '2026-01-17 02:25:00+00'),
    (9780679720201, 'downtown', 'The Stranger', 'Albert Camus', 'Classic', 1942, 15.00, false, NULL, '2026-01-17 17:46:00+00'),
    (9781400033416, 'downtown', 'Beloved', 'Toni Morrison', 'Classic', 1987, 17.00, false, NULL, '2026-01-18 09:07:00+00'),
    (9780156027328, 'downtown', 'Life of Pi', 'Yann Martel', 'Adventure', 2001, NULL, true, 1029, '2026-01-19 00:28:00+00'),
    (9780553380163, 'downtown', 'A Brief History of Time', 'Stephen Hawking', 'Science', 1988, 20.00, true, 1057, '2026-01-19 20:56:00+00'),
    (9780553296983, 'downtown', 'The Diary of a Young Girl', 'Anne Frank', 'History', 1947, 7.99, false, NULL, '2026-01-20 12:17:00+00')
ON CONFLICT (branch, isbn) DO NOTHING;

INSERT INTO books_b
    (isbn, branch, book_name, author, genre, published_year, price, checked_out, patron_id, updated_at)
VALUES
    (9780451524935, 'west', '1984', 'George Orwell', 'Dystopia', 1949, 9.99, false, NULL, '2026-01-05 19:14:00+00'),
    (9780451526342, 'west', 'Animal Farm', 'George Orwell', 'Satire', 1945, 8.99, false, NULL, '2026-01-06 10:35:00+00'),
    (9780060850524, 'west', 'Brave New World', 'Aldous Huxley', 'Dystopia', 1932, 16.99, false, NULL, '2026-01-06 15:42:00+00'),
    (9780544003415, 'west', 'The Lord of the Rings', 'J. R. R. Tolkien', 'Fantasy', 1954, 30.00, false, NULL, '2026-01-08 03:31:00+00'),
    (9780547928203, 'west', 'The Two Towers', 'J. R. R. Tolkien', 'Fantasy', 1954, 14.99, false, NULL, '2026-01-08 13:45:00+00'),
    (9780590353427, 'west', 'Harry Potter and the Sorcerer''s Stone', 'J. K. Rowling', 'Fantasy', 1997, 12.99, false, NULL, '2026-01-08 23:59:00+00'),
    (9780441013593, 'west', 'Dune', 'Frank Herbert', 'Science Fiction', 1965, 18.00, true, 1021, '2026-01-09 15:20:00+00'),
    (9780553293371, 'west', 'Foundation and Empire', 'Isaac Asimov', 'Science Fiction', 1952, 8.99, false, NULL, '2026-01-10 06:41:00+00'),
    (9780441569595, 'west', 'Neuromancer', 'William Gibson', 'Science Fiction', 1984, 18.00, false, NULL, '2026-01-10 22:02:00+00'),
    (9780061120084, 'west', 'To Kill a Mockingbird', 'Harper Lee', 'Classic', 1960, 17.99, false, NULL, '2026-01-11 18:30:00+00'),
    (9780316769488, 'west', 'The Catcher in the Rye', 'J. D. Salinger', 'Classic', 1951, 9.99, true, 1045, '2026-01-12 04:44:00+00'),
    (9780684801223, 'west', 'The Old Man and the Sea', 'Ernest Hemingway', 'Classic', 1952, 16.00, false, NULL, '2026-01-12 20:05:00+00'),
    (9780141439518, 'west', 'Pride and Prejudice', 'Jane Austen', 'Classic', 1813, 10.00, false, NULL, '2026-01-13 11:26:00+00'),
    (9780141439556, 'west', 'Wuthering Heights', 'Emily Brontë', 'Classic', 1847, 10.00, false, NULL, '2026-01-14 02:47:00+00'),
    (9780307743657, 'west', 'The Shining', 'Stephen King', 'Horror', 1977, 9.99, true, 1009, '2026-01-14 18:08:00+00'),
    (9780141439600, 'west', 'A Tale of Two Cities', 'Charles Dickens', 'Classic', 1859, 11.00, false, NULL, '2026-01-15 09:29:00+00'),
    (9780374528379, 'west', 'The Brothers Karamazov', 'Fyodor Dostoevsky', 'Classic', 1880, 22.00, false, NULL, '2026-01-16 00:50:00+00'),
    (9780140268867, 'west', 'The Odyssey', 'Homer', 'Poetry', NULL, 20.00, false, NULL, '2026-01-16 16:11:00+00'),
    (9780140449266, 'west', 'The Count of Monte Cristo', 'Alexandre Dumas', 'Adventure', 1846, 22.00, true, 1033, '2026-01-17 07:32:00+00'),
    (9780805209990, 'west', 'The Trial', 'Franz Kafka', 'Classic', 1925, 16.00, false, NULL, '2026-01-17 22:53:00+00'),
    (9780062315007, 'west', 'The Alchemist', 'Paulo Coelho', NULL, 1988, 17.99, false, NULL, '2026-01-18 14:14:00+00'),
    (9780062073488, 'west', 'And Then There Were None', 'Agatha Christie', 'Mystery', 1939, 16.99, false, NULL, '2026-01-19 05:35:00+00'),
    (9780156001311, 'west', 'The Name of the Rose', 'Umberto Eco', 'Mystery', 1980, NULL, false, NULL, '2026-01-19 15:49:00+00'),
    (9780062316097, 'west', 'Sapiens', 'Yuval Noah Harari', 'History', 2011, 24.99, false, NULL, '2026-01-20 07:10:00+00')
ON CONFLICT (branch, isbn) DO NOTHING;

INSERT INTO books_c
    (isbn, branch, book_name, author, genre, published_year, price, checked_out, patron_id, updated_at)
VALUES
    (9780451524935, 'north', '1984', 'George Orwell', 'Dystopia', 1949, 9.99, false, NULL, '2026-01-06 00:21:00+00'),
    (9780060850524, 'north', 'Brave New World', 'Aldous Huxley', 'Dystopia', 1932, 16.99, false, NULL, '2026-01-06 20:49:00+00'),
    (9780385490818, 'north', 'The Handmaid''s Tale', 'Margaret Atwood', 'Dystopia', 1985, 17.00, false, NULL, '2026-01-07 07:03:00+00'),
    (9780547928227, 'north', 'The Hobbit', 'J. R. R. Tolkien', 'Fantasy', 1937, 14.99, false, NULL, '2026-01-07 17:17:00+00'),
    (9780547928210, 'north', 'The Fellowship of the Ring', 'J. R. R. Tolkien', 'Fantasy', 1954, 14.99, false, NULL, '2026-01-08 08:38:00+00'),
    (9780439064873, 'north', 'Harry Potter and the Chamber of Secrets', 'J. K. Rowling', 'Fantasy', 1998, 12.99, false, NULL, '2026-01-09 05:06:00+00'),
    (9780441013593, 'north', 'Dune', 'Frank Herbert', 'Science Fiction', 1965, 18.00, false, NULL, '2026-01-09 20:27:00+00'),
    (9780345391803, 'north', 'The Hitchhiker''s Guide to the Galaxy', 'Douglas Adams', 'Science Fiction', 1979, 8.99, false, NULL, '2026-01-10 16:55:00+00'),
    (9780441478125, 'north', 'The Left Hand of Darkness', 'Ursula K. Le Guin', 'Science Fiction', 1969, 9.99, false, NULL, '2026-01-11 03:09:00+00'),
    (9780743273565, 'north', 'The Great Gatsby', 'F. Scott Fitzgerald', 'Classic', 1925, 17.00, false, NULL, '2026-01-11 23:37:00+00'),
    (9780140177398, 'north', 'Of Mice and Men', 'John Steinbeck', 'Classic', 1937, 13.00, false, NULL, '2026-01-12 14:58:00+00'),
    (9780399501487, 'north', 'Lord of the Flies', 'William Golding', 'Classic', 1954, 11.00, false, NULL, '2026-01-13 06:19:00+00'),
    (9780141439518, 'north', 'Pride and Prejudice', 'Jane Austen', 'Classic', 1813, 10.00, false, NULL, '2026-01-13 16:33:00+00'),
    (9780141439471, 'north', 'Frankenstein', 'Mary Shelley', 'Horror', 1818, 10.00, false, NULL, '2026-01-14 07:54:00+00'),
    (9780141439570, 'north', 'The Picture of Dorian Gray', 'Oscar Wilde', 'Classic', 1890, 10.00, false, NULL, '2026-01-14 23:15:00+00'),
    (9780142437247, 'north', 'Moby-Dick', 'Herman Melville', 'Classic', 1851, 17.00, true, 1037, '2026-01-15 14:36:00+00'),
    (9780143035008, 'north', 'Anna Karenina', 'Leo Tolstoy', 'Classic', 1878, 20.00, false, NULL, '2026-01-16 05:57:00+00'),
    (9780140275360, 'north', 'The Iliad', 'Homer', 'Poetry', NULL, 20.00, false, NULL, '2026-01-16 21:18:00+00'),
    (9780451419439, 'north', 'Les Misérables', 'Victor Hugo', 'Classic', 1862, 9.99, false, NULL, '2026-01-17 12:39:00+00'),
    (9780060883287, 'north', 'One Hundred Years of Solitude', 'Gabriel García Márquez', 'Classic', 1967, 18.99, true, 1001, '2026-01-18 04:00:00+00'),
    (9780307387899, 'north', 'The Road', 'Cormac McCarthy', 'Dystopia', 2006, 17.00, false, NULL, '2026-01-18 19:21:00+00'),
    (9780062073501, 'north', 'Murder on the Orient Express', 'Agatha Christie', 'Mystery', 1934, 16.99, false, NULL, '2026-01-19 10:42:00+00'),
    (9780345539434, 'north', 'Cosmos', 'Carl Sagan', 'Science', 1980, 20.00, false, NULL, '2026-01-20 02:03:00+00'),
    (9780374533557, 'north', 'Thinking, Fast and Slow', 'Daniel Kahneman', 'Science', 2011, 20.00, true, 1025, '2026-01-20 17:24:00+00')
ON CONFLICT (branch, isbn) DO NOTHING;

INSERT INTO patrons_a (patron_id, name, email, branch, joined)
VALUES
    (1003, 'Grace Hopper', 'grace.hopper@example.org', 'downtown', '2018-07-20'),
    (1008, 'Margaret Hamilton', 'margaret.hamilton@example.org', 'west', '2019-03-12'),
    (1009, 'Ken Thompson', 'ken.thompson@example.org', 'downtown', '2019-04-28'),
    (1014, 'Leslie Lamport', 'leslie.lamport@example.org', 'west', '2019-12-19'),
    (1017, 'Jim Gray', 'jim.gray@example.org', 'west', '2020-05-08'),
    (1018, 'Michael Stonebraker', 'michael.stonebraker@example.org', 'downtown', '2020-06-24'),
    (1022, 'Kurt Gödel', 'kurt.godel@example.org', 'north', '2020-12-29'),
    (1024, 'Paul Erdős', 'paul.erdos@example.org', 'downtown', '2021-04-02'),
    (1025, 'Sofia Kovalevskaya', 'sofia.kovalevskaya@example.org', 'north', '2021-05-19'),
    (1028, 'Srinivasa Ramanujan', 'srinivasa.ramanujan@example.org', 'north', '2021-10-07'),
    (1029, 'Maryam Mirzakhani', 'maryam.mirzakhani@example.org', 'west', '2021-11-23'),
    (1034, 'David Hilbert', 'david.hilbert@example.org', 'north', '2022-07-16'),
    (1040, 'John von Neumann', 'john.von.neumann@example.org', 'north', '2023-04-24'),
    (1042, 'Haskell Curry', 'haskell.curry@example.org', 'downtown', '2023-07-27'),
    (1048, 'Niels Bohr', 'niels.bohr@example.org', 'downtown', '2024-05-04'),
    (1049, 'Richard Feynman', 'richard.feynman@example.org', 'north', '2024-06-20'),
    (1059, 'Miles O''Brien', 'miles.obrien@example.org', 'west', '2025-10-03'),
    (1060, 'Jocelyn Bell Burnell', NULL, 'downtown', '2025-11-19')
ON CONFLICT (patron_id) DO NOTHING;

INSERT INTO patrons_b (patron_id, name, email, branch, joined)
VALUES
    (1001, 'Ada Lovelace', 'ada.lovelace@example.org', 'north', '2018-04-17'),
    (1002, 'Alan Turing', 'alan.turing@example.org', 'west', '2018-06-03'),
    (1004, 'Edsger Dijkstra', 'edsger.dijkstra@example.org', 'north', '2018-09-05'),
    (1005, 'Barbara Liskov', 'barbara.liskov@example.org', 'west', '2018-10-22'),
    (1006, 'Edgar Codd', 'edgar.codd@example.org', 'downtown', '2018-12-08'),
    (1011, 'Frances Allen', 'frances.allen@example.org', 'west', '2019-07-31'),
    (1012, 'John McCarthy', 'john.mccarthy@example.org', 'downtown', '2019-09-16'),
    (1013, 'Katherine Johnson', 'katherine.johnson@example.org', 'north', '2019-11-02'),
    (1015, 'Radia Perlman', NULL, 'downtown', '2020-02-04'),
    (1019, 'Lynn Conway', 'lynn.conway@example.org', 'north', '2020-08-10'),
    (1021, 'Joan Clarke', 'joan.clarke@example.org', 'downtown', '2020-11-12'),
    (1026, 'Évariste Galois', 'evariste.galois@example.org', 'west', '2021-07-05'),
    (1027, 'Hypatia', 'hypatia@example.org', 'downtown', '2021-08-21'),
    (1030, 'Carl Friedrich Gauss', NULL, 'downtown', '2022-01-09'),
    (1033, 'Henri Poincaré', 'henri.poincare@example.org', 'downtown', '2022-05-30'),
    (1035, 'Bertrand Russell', 'bertrand.russell@example.org', 'west', '2022-09-01'),
    (1037, 'Augustus De Morgan', 'augustus.de.morgan@example.org', 'north', '2022-12-04'),
    (1038, 'Charles Babbage', 'charles.babbage@example.org', 'west', '2023-01-20'),
    (1043, 'Rózsa Péter', 'rozsa.peter@example.org', 'north', '2023-09-12'),
    (1044, 'Konrad Zuse', 'konrad.zuse@example.org', 'west', '2023-10-29'),
    (1045, 'Hedy Lamarr', NULL, 'downtown', '2023-12-15'),
    (1046, 'Marie Curie', 'marie.curie@example.org', 'north', '2024-01-31'),
    (1047, 'Lise Meitner', 'lise.meitner@example.org', 'west', '2024-03-18'),
    (1051, 'Rosalind Franklin', 'rosalind.franklin@example.org', 'downtown', '2024-09-22'),
    (1052, 'Barbara McClintock', 'barbara.mcclintock@example.org', 'north', '2024-11-08'),
    (1054, 'Jane Goodall', 'jane.goodall@example.org', 'downtown', '2025-02-10'),
    (1058, 'Alexander von Humboldt', 'alexander.von.humboldt@example.org', 'north', '2025-08-17')
ON CONFLICT (patron_id) DO NOTHING;

INSERT INTO patrons_c (patron_id, name, email, branch, joined)
VALUES
    (1007, 'Donald Knuth', 'donald.knuth@example.org', 'north', '2019-01-24'),
    (1010, 'Dennis Ritchie', 'dennis.ritchie@example.org', 'north', '2019-06-14'),
    (1016, 'Tony Hoare', 'tony.hoare@example.org', 'north', '2020-03-22'),
    (1020, 'Niklaus Wirth', 'niklaus.wirth@example.org', 'west', '2020-09-26'),
    (1023, 'Emmy Noether', 'emmy.noether@example.org', 'west', '2021-02-14'),
    (1031, 'Leonhard Euler', 'leonhard.euler@example.org', 'north', '2022-02-25'),
    (1032, 'Sophie Germain', 'sophie.germain@example.org', 'west', '2022-04-13'),
    (1036, 'George Boole', 'george.boole@example.org', 'downtown', '2022-10-18'),
    (1039, 'Claude Shannon', 'claude.shannon@example.org', 'downtown', '2023-03-08'),
    (1041, 'Alonzo Church', 'alonzo.church@example.org', 'west', '2023-06-10'),
    (1050, 'Chien-Shiung Wu', 'chien-shiung.wu@example.org', 'west', '2024-08-06'),
    (1053, 'Rachel Carson', 'rachel.carson@example.org', 'west', '2024-12-25'),
    (1055, 'Mary Anning', 'mary.anning@example.org', 'north', '2025-03-29'),
    (1056, 'Charles Darwin', 'charles.darwin@example.org', 'west', '2025-05-15'),
    (1057, 'Gregor Mendel', 'gregor.mendel@example.org', 'downtown', '2025-07-01')
ON CONFLICT (patron_id) DO NOTHING;
